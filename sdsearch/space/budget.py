"""Budgets: upper limits on what an architecture may cost, absolute or as a share of the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import Field, field_validator

from sdsearch.errors import InputError
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

Resource = Literal["params", "macs", "latency_ms", "memory_bytes", "file_bytes"]
RESOURCES: tuple[Resource, ...] = get_args(Resource)


class Share(FrozenModel):
    """A limit as a share of the teacher's cost."""

    share: float = Field(gt=0, le=1)


Absolute = Annotated[float, Field(gt=0)]
Limit = Share | Absolute | None


class Budget(FrozenModel):
    """Upper limits on a UNet and one call of it at batch 1 and its native size.

    A plain number is absolute, `{ share = 0.6 }` is a share of what the teacher costs.

    Attributes:
        params: parameters.
        macs: multiply-accumulates of a call.
        latency_ms: milliseconds of a call, as a latency table predicts them.
        memory_bytes: weights and the peak of activations, in the precision that the protocol
            samples in (`dtype`).
        file_bytes: the safetensors file of the weights, in that precision.
    """

    params: Limit = None
    macs: Limit = None
    latency_ms: Limit = None
    memory_bytes: Limit = None
    file_bytes: Limit = None

    @field_validator("params", "macs", "memory_bytes", "file_bytes", mode="before")
    @classmethod
    def _is_no_bare_share(cls, limit: object) -> object:
        """No network has one parameter: such a number was meant as a share."""
        if isinstance(limit, bool) or (isinstance(limit, int | float) and 0 < limit <= 1):
            raise ValueError(
                f"a limit must be a count above 1 or a share, but is {limit}; write "
                f"{{ share = {float(limit)} }} for a share"
            )
        return limit

    def limits(self, teacher: Mapping[Resource, float]) -> dict[Resource, float]:
        """Absolute limits of the limited resources, given the teacher's costs.

        Raises:
            InputError: latency is limited, but no latency table says what it is.
        """
        asked: dict[Resource, Limit] = {name: getattr(self, name) for name in RESOURCES}
        if self.latency_ms is not None and "latency_ms" not in teacher:
            raise InputError(
                "a budget of latency_ms needs the space's latency table, but there is none; make "
                "one with sdsearch latency and name it as [build] latency_table in study.toml"
            )
        return {
            name: limit.share * teacher[name] if isinstance(limit, Share) else float(limit)
            for name, limit in asked.items()
            if limit is not None
        }


def say_amount(cost: float) -> str:
    """A cost in digits that can be read: whole above 1,000, four digits below."""
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}"
