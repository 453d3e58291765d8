"""Labels near the front of a planted probe: distinct, weighted, and enough to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.design import draw_near_front, excess_errors, log_errors
from sdsearch.errors import InputError
from sdsearch.space import list_losses, search_space
from tests.planted import planted_probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPACE = search_space("tiny")
ERRORS = planted_probe(SPACE).option_errors(SPACE)
MERIT = excess_errors(ERRORS)
SOME = np.arange(0, len(SPACE), 7)


def drawn(
    count: int, seed: int = 0, candidates: NDArray[np.int64] = SOME, **more: object
) -> NDArray[np.int64]:
    rng = np.random.default_rng(seed)
    return draw_near_front(SPACE, ERRORS, MERIT, candidates, count, rng, **more)  # type: ignore[arg-type]


def test_a_draw_is_of_distinct_candidates_and_the_same_for_a_seed() -> None:
    found = drawn(68)
    assert len(np.unique(found)) == 68
    assert np.isin(found, SOME).all()
    assert (found == drawn(68)).all()
    assert (found != drawn(68, seed=1)).any()


def test_half_of_the_labels_are_in_the_best_quarter_of_the_order() -> None:
    ranks = np.argsort(np.argsort(MERIT[SOME], kind="stable"), kind="stable") / len(SOME)
    found = ranks[np.searchsorted(SOME, drawn(32))]
    assert (found < 0.25).sum() == 16
    assert found.max() > 0.9, "the rest of the order is seen too"
    even = ranks[np.searchsorted(SOME, drawn(32, weight=1.0))]
    assert (even < 0.25).sum() == 8


@pytest.mark.parametrize("count", [1, 2, 19, 20])
def test_as_many_as_there_are_can_be_taken_and_no_more(count: int) -> None:
    few = SOME[:20]
    assert len(np.unique(drawn(count, candidates=few))) == count
    with pytest.raises(InputError, match="21 members must be there"):
        drawn(21, candidates=few)


def losses_seen(members: NDArray[np.int64]) -> list[tuple[int, int]]:
    """For every block that can go, how often it is kept and how often gone."""
    digits, found = SPACE.digits(members), []
    for axis in range(len(SPACE.units)):
        losses = list_losses(SPACE, axis)
        for name in sorted(frozenset().union(*losses)):
            gone = sum(name in losses[digit] for digit in digits[:, axis])
            found.append((len(members) - gone, gone))
    return found


def test_every_block_is_seen_kept_and_gone_so_that_a_regression_is_identifiable() -> None:
    assert min(min(pair) for pair in losses_seen(drawn(24, candidates=np.arange(len(SPACE))))) >= 2


def test_what_is_labelled_already_is_not_told_again() -> None:
    """Of candidates that lose what is known well or what nobody has seen, the latter is taken."""
    known = drawn(40)
    apart = np.setdiff1d(SOME, known)
    found = drawn(8, candidates=apart, known=known.tolist())
    assert not np.isin(found, known).any()
    assert (found != drawn(8, candidates=apart)).any()


def test_the_excess_is_over_the_least_error_at_each_cost() -> None:
    cost = np.arange(len(SPACE), dtype=np.float64)[::-1]
    excess, logs = excess_errors(ERRORS, cost), log_errors(ERRORS)
    assert (excess >= 0).all()
    assert excess[len(SPACE) - 1] == 0, "nothing is cheaper"
    assert excess[logs.argmin()] == 0
    for number in (3, 70_000, 600_000):
        rivals = logs[cost <= cost[number]]
        assert excess[number] == pytest.approx(logs[number] - rivals.min())
    assert (excess_errors(ERRORS) == logs).all()
