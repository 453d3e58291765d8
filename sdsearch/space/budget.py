"""Budgets: upper limits on what an architecture may cost, absolute or as a share of the teacher."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, field_validator

from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.space.latency import space_latencies
from sdsearch.unet import count_macs, count_params, unet_cost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sdsearch.space.latency import LatencyTable
    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture

Resource = Literal["params", "macs", "latency_ms", "memory_bytes"]
RESOURCES: tuple[Resource, ...] = ("params", "macs", "latency_ms", "memory_bytes")


class Share(FrozenModel):
    """A limit as a share of the teacher's cost."""

    share: float = Field(gt=0, le=1)


Absolute = Annotated[float, Field(gt=0)]
Limit = Share | Absolute | None


class Budget(FrozenModel):
    """Upper limits of one UNet call; a bare number is absolute.

    `latency_ms` is what a latency table predicts; `memory_bytes` is the peak of activations in
    float32, batch 1.
    """

    params: Limit = None
    macs: Limit = None
    latency_ms: Limit = None
    memory_bytes: Limit = None

    @field_validator("params", "macs", "memory_bytes", mode="before")
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


def member_resources(
    arch: Architecture, space: SearchSpace, table: LatencyTable | None = None
) -> dict[Resource, float]:
    """What one call of a member's UNet costs; latency only where a table predicts it."""
    cost = unet_cost(arch, space.backbone)
    found: dict[Resource, float] = {
        "params": cost.params,
        "macs": cost.macs.total,
        "memory_bytes": cost.activation_bytes,
    }
    return found if table is None else {**found, "latency_ms": table.predict(arch)}


def space_resources(
    space: SearchSpace, table: LatencyTable | None = None
) -> dict[Resource, NDArray[np.float64]]:
    """(len(space),) costs of every member, for the resources that add up over units.

    Peak memory does not: it is looked up member by member.
    """
    params, macs = space_costs(space)
    found: dict[Resource, NDArray[np.float64]] = {
        "params": params.astype(np.float64),
        "macs": macs.astype(np.float64),
    }
    return found if table is None else {**found, "latency_ms": space_latencies(table, space)}


def space_costs(space: SearchSpace) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(len(space),) params and total MACs of every member, batch 1, at the native size.

    Members of the same widths share the costs of their options, so that only those are counted.
    """
    params, macs = (np.zeros(space.radices, np.int64) for _ in range(2))
    for chosen in product(*(unit.by_width for unit in space.units)):  # option numbers per unit
        first = [digits[0] for digits in chosen]
        base = _costs(space, first)  # (2,) params and MACs
        # Costs add up over units: the first member's, and what another option of each unit changes.
        block = base.reshape(2, 1, 1, 1, 1)  # grows to (2, a, b, c, d) by broadcasting
        for axis, digits in enumerate(chosen):
            rows = [_costs(space, [*first[:axis], d, *first[axis + 1 :]]) - base for d in digits]
            shape = [2, 1, 1, 1, 1]
            shape[axis + 1] = len(digits)
            block = block + np.stack(rows, axis=1).reshape(shape)
        params[np.ix_(*chosen)], macs[np.ix_(*chosen)] = block
    return params.reshape(-1), macs.reshape(-1)


def _costs(space: SearchSpace, digits: list[int]) -> NDArray[np.int64]:
    arch = space.arch(int(space.indices(np.array([digits]))[0]))
    macs = count_macs(arch, space.backbone).total
    return np.array([count_params(arch, space.backbone), macs], np.int64)
