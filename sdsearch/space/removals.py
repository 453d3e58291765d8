"""What a unit can lose: its smallest removals, their pairs, and options as sums of both.

A probe measures the unpruned net with one removal at a time, never all options of a unit. An option
is then as bad as its removals alone, plus what each two of them do to each other.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.unet import SLOTS, UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from sdsearch.space.space import SearchSpace
    from sdsearch.unet import Architecture

    Floats = NDArray[np.float64]

Loss = frozenset[str]
"""What an option lacks of the unpruned net: slots by name, and its full width."""

MEASURED_WHOLE = 12
"""A unit of at most so many options is measured option by option: none is a sum."""


def list_removals(space: SearchSpace) -> tuple[tuple[int, ...], ...]:
    """Per unit the numbers of the options that a probe measures, the unpruned one left out.

    Where a unit has more than `MEASURED_WHOLE` options these are the smallest removals, which are
    no union of smaller ones, and the pairs of those that take away blocks.
    """
    found = []
    for axis in range(len(space.units)):
        losses = list_losses(space, axis)
        if len(losses) <= MEASURED_WHOLE:
            chosen = {number for number, loss in enumerate(losses) if loss}
        else:
            smallest = _smallest(losses)
            chosen = {*smallest, *_pairs(losses, smallest).values()}
        found.append(tuple(sorted(chosen)))
    return tuple(found)


def spread_errors(
    space: SearchSpace, measured: Sequence[Mapping[int, float]]
) -> tuple[Floats, ...]:
    """Per unit the error of each option, (options,), from those that were measured.

    An option that was not measured is the sum of its largest parts that are smallest removals, and
    of what each pair of those costs beyond its two, where that was measured; never less than its
    worst part. The unpruned option has none.
    """
    return tuple(_spread(list_losses(space, axis), errors) for axis, errors in enumerate(measured))


def with_option(space: SearchSpace, axis: int, option: int) -> Architecture:
    """The unpruned member, but for the option of one unit."""
    digits = np.array([space.option_indices(UNPRUNED)])
    digits[0, axis] = option
    return space.arch(int(space.indices(digits)[0]))


def list_losses(space: SearchSpace, axis: int) -> list[Loss]:
    """What each option of a unit lacks, the other units unpruned."""
    full = space.backbone.block_out_channels[axis]
    found = []
    for number, option in enumerate(space.units[axis].options):
        kept = with_option(space, axis, number).kept_slots
        lost = {slot.name for slot in SLOTS if slot.name not in kept}
        if option.width not in (None, full):
            lost.add(f"width {option.width}")
        found.append(frozenset(lost))
    return found


def _smallest(losses: Sequence[Loss]) -> list[int]:
    """The options whose loss is no union of smaller losses."""
    return [
        number
        for number, loss in enumerate(losses)
        if loss and frozenset().union(*(other for other in losses if other < loss)) != loss
    ]


def _parts(loss: Loss, losses: Sequence[Loss], smallest: Sequence[int]) -> list[int]:
    """The smallest removals that a loss consists of, without those that lie inside another."""
    inside = [number for number in smallest if losses[number] <= loss]
    return [
        number for number in inside if not any(losses[number] < losses[other] for other in inside)
    ]


def _pairs(losses: Sequence[Loss], smallest: Sequence[int]) -> dict[tuple[int, int], int]:
    """Two smallest removals of blocks, neither inside the other -> the option that is both."""
    numbers = {loss: number for number, loss in enumerate(losses)}
    blocks = [number for number in smallest if losses[number] <= {slot.name for slot in SLOTS}]
    return {
        (one, other): both
        for one, other in combinations(blocks, 2)
        if (both := numbers.get(losses[one] | losses[other])) not in (None, one, other)
    }


def _spread(losses: Sequence[Loss], measured: Mapping[int, float]) -> Floats:
    smallest = _smallest(losses)
    pairs = {
        two: measured[both] - sum(measured[one] for one in two)
        for two, both in _pairs(losses, smallest).items()
        if both in measured and all(one in measured for one in two)
    }
    errors = np.zeros(len(losses))
    for number, loss in enumerate(losses):
        if number in measured:
            errors[number] = measured[number]
        elif loss:
            parts = _parts(loss, losses, smallest)
            alone = sum(measured[part] for part in parts)
            errors[number] = max(
                alone + sum(pairs.get(two, 0.0) for two in combinations(parts, 2)),
                *(measured[part] for part in parts),
            )
    return errors
