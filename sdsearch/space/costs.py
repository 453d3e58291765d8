"""What every member of a space costs, as arrays: sums over units, and peaks as maxima of such sums.

No member is looked up by itself: counted are one reference and, unit by unit, the members that
differ from it there alone. A space with widths to choose is counted part by part.
"""

from __future__ import annotations

from functools import reduce
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sdsearch.unet import SLOTS, TEXT_TOKENS, activation_values, count_macs, count_params

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture

_Number = TypeVar("_Number", bound=np.number)
_RUNS = tuple(
    tuple(number for number, _ in run)
    for _, run in groupby(enumerate(SLOTS), key=lambda pair: (pair[1].block, pair[1].unit))
)
"""Numbers of the slots that follow one another in one block and are decided by one unit."""


def add_up(units: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
    """Every member's sum of one number for each of its options, in the order of `space.index`.

    `units` holds one array per unit of the space: the numbers of its options, in order.
    """
    total: NDArray[_Number] = reduce(np.add.outer, units)
    return total.reshape(-1)


def space_params(space: SearchSpace) -> NDArray[np.int64]:
    """(len(space),) parameters of every member."""
    return _sums(space, lambda arch: count_params(arch, space.backbone))


def space_macs(space: SearchSpace) -> NDArray[np.int64]:
    """(len(space),) total MACs of every member, batch 1, at the native size."""
    return _sums(space, lambda arch: count_macs(arch, space.backbone).total)


def space_peaks(space: SearchSpace) -> NDArray[np.int64]:
    """(len(space),) numbers alive at most in a call of every member, batch 1, at the native size.

    All through a run of slots the other units keep the same alive: shallower levels their skips,
    and what is below level 2 the input of its decoder. So the peak of a run is a sum over units;
    the peak of the call is the largest of the runs'.
    """
    side = space.backbone.sample_size

    def peaks_of_runs(arch: Architecture) -> list[int]:
        alive = activation_values(arch, space.backbone, (side, side), TEXT_TOKENS)
        return [max(alive[slot] for slot in run) for run in _RUNS]

    def fill(part: SearchSpace) -> NDArray[np.int64]:
        tables = _by_option(part, peaks_of_runs)  # per unit (options, runs)
        peaks = np.zeros(len(part), np.int64)
        for run in range(len(_RUNS)):
            np.maximum(peaks, add_up([table[:, run] for table in tables]), out=peaks)
        return peaks

    return fill_parts(space, fill)


def fill_parts(
    space: SearchSpace, fill: Callable[[SearchSpace], NDArray[np.int64]]
) -> NDArray[np.int64]:
    """(len(space),) what `fill` says for each part of one width per level, in the space's order."""
    found = np.empty(space.radices, np.int64)
    for numbers, part in space.width_parts:
        found[np.ix_(*numbers)] = fill(part).reshape(part.radices)
    return found.reshape(-1)


def members_by_option(part: SearchSpace) -> list[list[Architecture]]:
    """Per unit the members with each of its options, and with the last option of the other units.

    The last option of a unit keeps every slot that another option of it keeps.
    """
    found = []
    for axis, radix in enumerate(part.radices):
        digits = np.tile(np.array(part.radices) - 1, (radix, 1))
        digits[:, axis] = np.arange(radix)
        found.append([part.arch(int(index)) for index in part.indices(digits)])
    return found


def _sums(space: SearchSpace, count: Callable[[Architecture], int]) -> NDArray[np.int64]:
    return fill_parts(space, lambda part: add_up(_by_option(part, count)))


def _by_option(
    part: SearchSpace, count: Callable[[Architecture], int | Sequence[int]]
) -> list[NDArray[np.int64]]:
    """Per unit an array over its options, whose sums over units are what `count` says of members.

    The first unit's has the reference in it, the others what each option changes there.
    """
    first, *others = (
        np.array([count(arch) for arch in members], np.int64) for members in members_by_option(part)
    )
    return [first, *(table - table[-1] for table in others)]
