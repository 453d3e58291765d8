from __future__ import annotations

import pytest
from scipy import stats as reference

from sdsearch.stats import Difference, decide, holm


def difference(value: float, se: float = 1.0) -> Difference:
    return Difference(value, se, 7, "paired", 8)


def test_holm_steps_down_until_a_p_value_stands() -> None:
    # Worked by hand: 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2.
    steps = holm([0.04, 0.01, 0.03, 0.015], 0.05)
    assert [step.is_rejected for step in steps] == [False, True, False, True]
    levels = [0.025, 0.0125, 0.025, 0.05 / 3]
    assert [step.level for step in steps] == pytest.approx(levels)
    assert holm([], 0.05) == ()


def test_a_word_is_said_only_where_the_interval_leaves_out_no_difference() -> None:
    better, worse, open_ = decide([difference(-6), difference(5), difference(1)], margin=0.5)
    assert [one.word for one in (better, worse, open_)] == ["better", "worse", "no difference"]
    assert better.interval.high < 0 < worse.interval.low
    assert open_.interval.low < 0 < open_.interval.high
    assert open_.describe("it") == f"no difference beyond ±{open_.interval.high:.3g}"


def test_the_bound_of_a_difference_is_the_far_end_of_its_interval_either_way() -> None:
    for value in (1.0, -1.0):
        (one,) = decide([difference(value)], margin=0.1)
        assert one.beyond == pytest.approx(1 + reference.t.isf(0.025, 7))


def test_as_good_as_needs_the_whole_interval_below_the_margin() -> None:
    reach = reference.t.isf(0.025, 7)
    (near,) = decide([difference(0.5, 0.1)], margin=0.5 + 0.1 * reach + 1e-6)
    (far,) = decide([difference(0.5, 0.1)], margin=0.5 + 0.1 * reach - 1e-6)
    assert near.is_as_good
    assert not far.is_as_good
    assert near.word == "worse"
    assert near.describe("it") == "worse; as good as it (non-inferior, margin 0.736)"
    assert far.describe("it") == "worse"


def test_no_difference_alone_is_not_as_good_as() -> None:
    (one,) = decide([difference(0.0, 2.0)], margin=0.8)
    assert one.word == "no difference"
    assert not one.is_as_good


def test_claims_made_together_ask_for_more_and_say_so() -> None:
    strong = difference(-2.5)
    (alone,) = decide([strong], margin=0.5)
    together = decide([strong, *[difference(0.0)] * 9], margin=0.5)
    assert alone.word == "better"
    assert together[0].word == "no difference"
    assert alone.test.endswith("8 blocks, 1 label seed; one claim")
    assert together[0].test.endswith("Holm over 10 claims")


def test_a_margin_must_be_positive_and_no_claims_give_no_verdicts() -> None:
    with pytest.raises(ValueError, match="above 0"):
        decide([], margin=0.0)
    assert decide([], margin=0.1) == ()
