"""Options as sums of the smallest removals and their pairs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.space.removals import list_losses, list_removals, spread_errors, with_option
from sdsearch.space.space import SPACES, search_space
from sdsearch.unet import UNPRUNED
from sdsearch.unet.backbone import TINY

BLOCKS = search_space("sd14-blocks", TINY)
FREE = search_space("tiny")


def planted(space, singles, joint):
    """Errors of all options whose slots cost `singles`, and `joint` for each two lost together."""
    return [
        {
            number: sum(singles[name] for name in loss)
            + sum(joint[frozenset(two)] for two in combinations(sorted(loss), 2))
            for number, loss in enumerate(list_losses(space, axis))
        }
        for axis in range(4)
    ]


def test_a_level_is_measured_by_six_removals_and_their_pairs_and_the_bottom_whole():
    counts = [len(numbers) for numbers in list_removals(FREE)]
    assert counts == [19, 19, 19, 10], "6 and 13 of 15 pairs: two lie inside the shorter level"


def test_a_unit_of_few_options_is_measured_option_by_option():
    assert [len(numbers) for numbers in list_removals(BLOCKS)] == [7, 7, 7, 10]


@pytest.mark.parametrize("name", SPACES)
def test_every_option_is_covered_by_what_is_measured_and_the_unpruned_one_is_not(name):
    space = search_space(name)
    home = space.option_indices(UNPRUNED)
    for axis, numbers in enumerate(list_removals(space)):
        losses = list_losses(space, axis)
        assert losses[home[axis]] == frozenset()
        assert home[axis] not in numbers
        for loss in losses:
            assert frozenset().union(*(losses[n] for n in numbers if losses[n] <= loss)) == loss


@given(seed=st.integers(0, 2**32 - 1))
def test_errors_that_add_up_are_found_exactly(seed):
    rng = np.random.default_rng(seed)
    names = {name for axis in range(4) for loss in list_losses(FREE, axis) for name in loss}
    singles = dict(zip(sorted(names), rng.exponential(size=len(names)), strict=True))
    truth = planted(FREE, singles, dict.fromkeys(map(frozenset, combinations(names, 2)), 0.0))
    asked = [
        {number: errors[number] for number in numbers}
        for errors, numbers in zip(truth, list_removals(FREE), strict=True)
    ]
    for found, errors in zip(spread_errors(FREE, asked), truth, strict=True):
        np.testing.assert_allclose(found, list(errors.values()), atol=1e-12)


def test_what_two_removals_do_to_each_other_counts_in_every_option_that_has_both():
    losses = list_losses(FREE, 0)
    one, other = frozenset({"down.0.attn.0"}), frozenset({"up.3.attn.0"})
    asked = [dict.fromkeys(numbers, 1.0) for numbers in list_removals(FREE)]
    asked[0] |= {losses.index(loss): 2.0 for loss in losses if len(loss) == 2}
    asked[0][losses.index(one | other)] = 5.0  # 3 more than the two alone
    found = spread_errors(FREE, asked)[0]
    for loss, error in zip(losses, found, strict=True):
        if len(loss) == 3 and not any(".res." in name for name in loss):
            assert error == pytest.approx(6.0 if one | other <= loss else 3.0)


def test_an_option_is_never_better_than_its_worst_part():
    asked = [dict.fromkeys(numbers, 1.0) for numbers in list_removals(FREE)]
    losses = list_losses(FREE, 0)
    asked[0] = {n: 1.0 if len(losses[n]) == 1 else 0.1 for n in asked[0]}
    three = next(n for n, loss in enumerate(losses) if len(loss) == 3 and n not in asked[0])
    assert spread_errors(FREE, asked)[0][three] == 1.0


def test_the_net_of_a_removal_differs_from_the_unpruned_one_in_its_unit_alone():
    for axis, numbers in enumerate(list_removals(FREE)):
        for number in numbers:
            digits = FREE.option_indices(with_option(FREE, axis, number))
            home = list(FREE.option_indices(UNPRUNED))
            home[axis] = number
            assert list(digits) == home
