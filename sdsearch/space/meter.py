"""Meter: what the members of a space cost, one or all of them, in every resource of a budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.space.costs import space_macs, space_params, space_peaks
from sdsearch.space.latency import space_latencies
from sdsearch.space.loaders import space_loads, why_not_loaded
from sdsearch.space.weight_file import space_file_bytes, weight_file_bytes
from sdsearch.unet import UNPRUNED, unet_cost

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sdsearch.space.budget import Budget, Resource
    from sdsearch.space.latency import Dtype, LatencyTable
    from sdsearch.space.loaders import Loader
    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture


@dataclass(frozen=True, slots=True)
class Meter:
    """Counts what members cost: one UNet call at batch 1 and the native size, no guidance.

    `dtype` is the precision in which bytes are counted; the half ones are alike, and are saved as
    float16. Latency is there only where a table predicts it. `loads_in` is where designs have to
    load, which no resource says.
    """

    space: SearchSpace
    dtype: Dtype = "float32"
    table: LatencyTable | None = None
    loads_in: tuple[Loader, ...] = ()

    def member(self, arch: Architecture) -> dict[Resource, float]:
        """What a member costs, by resource."""
        backbone, value_bytes = self.space.backbone, self._value_bytes
        cost = unet_cost(arch, backbone, value_bytes=value_bytes)
        found: dict[Resource, float] = {"params": cost.params, "macs": cost.macs.total}
        if self.table is not None:
            found["latency_ms"] = self.table.predict(arch)
        found["memory_bytes"] = cost.params * value_bytes + cost.activation_bytes
        found["file_bytes"] = weight_file_bytes(arch, backbone, value_bytes)
        return found

    def whole(self, resource: Resource) -> NDArray[np.float64]:
        """(len(space),) what every member costs in one resource, exactly as `member` counts it.

        Raises:
            InputError: latency of a space with widths to choose.
            ValueError: latency without a table.
        """
        space, value_bytes = self.space, self._value_bytes
        if resource == "latency_ms":
            if self.table is None:
                raise ValueError("latency is predicted by a table, but the meter has none")
            return space_latencies(self.table, space)
        if resource == "params":
            found = space_params(space)
        elif resource == "macs":
            found = space_macs(space)
        elif resource == "memory_bytes":
            found = (space_params(space) + space_peaks(space)) * value_bytes
        else:
            found = space_file_bytes(space, value_bytes)
        return found.astype(np.float64)

    def loads(self) -> NDArray[np.bool_]:
        """(len(space),) which members load wherever designs have to."""
        found = np.ones(len(self.space), np.bool_)
        for loader in self.loads_in:
            found &= space_loads(self.space, loader)
        return found

    def why_not_loaded(self, arch: Architecture) -> str | None:
        """Why a member does not load somewhere where designs have to; None where it does."""
        backbone = self.space.backbone
        reasons = (why_not_loaded(arch, backbone, loader) for loader in self.loads_in)
        return next((reason for reason in reasons if reason), None)

    def limits(self, budget: Budget) -> dict[Resource, float]:
        """A budget's absolute limits, shares taken of the teacher's costs.

        Raises:
            InputError: latency is limited, but there is no table.
        """
        return budget.limits(self.member(UNPRUNED))

    @property
    def _value_bytes(self) -> int:
        return 4 if self.dtype == "float32" else 2
