from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as reference

from sdsearch.labels import Measurement
from sdsearch.stats import (
    Difference,
    crossed_difference,
    difference_of,
    jackknife_error,
    leave_out_blocks,
    paired_difference,
    unpaired_difference,
)
from sdsearch.stats.differences import mean_variance

ROWS = 64


def mean_of(values: np.ndarray, blocks: int = 8, kept: bool = True) -> Measurement:
    left = leave_out_blocks(np.mean, values, blocks=blocks)
    return Measurement(
        value=float(values.mean()),
        se=float(values.std(ddof=1) / np.sqrt(len(values))),
        n=len(values),
        blocks=tuple(left.tolist()) if kept else None,
    )


def alike(seed: int, shift: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of values that share what scenes do."""
    rng = np.random.default_rng(seed)
    scenes = rng.normal(0, 5, ROWS)
    first, second = (scenes + rng.normal(0, 1, ROWS) for _ in range(2))
    return first + shift, second


def test_a_paired_difference_of_means_is_the_t_test_of_its_block_means() -> None:
    first, second = alike(0)
    found = paired_difference(mean_of(first), mean_of(second))
    blocks = (first - second).reshape(8, -1).mean(1)
    expected = reference.ttest_1samp(blocks, 0.0)
    assert found.p_equal() == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval(0.95)), rel=1e-9)
    less = reference.ttest_1samp(blocks, 1.0, alternative="less")
    assert found.p_at_least(1.0) == pytest.approx(less.pvalue, rel=1e-9)


@pytest.mark.parametrize(
    "statistic",
    [
        lambda x, y: np.mean(x, -1) - np.mean(y, -1),
        lambda x, y: np.log(np.var(x, -1)) - np.log(np.var(y, -1)),
        lambda x, y: np.mean(x, -1) / np.mean(y + 30, -1),
    ],
    ids=["means", "variances", "a ratio"],
)
def test_the_jackknife_of_a_paired_statistic_has_the_error_of_the_paired_bootstrap(
    statistic,
) -> None:
    rng = np.random.default_rng(1)
    scenes = rng.normal(0, 2, 400)
    first, second = (scenes + rng.normal(0, 1, 400) for _ in range(2))
    own = jackknife_error(leave_out_blocks(statistic, first, second, blocks=200))
    drawn = reference.bootstrap(
        (first, second),
        lambda x, y, axis: statistic(x, y),
        paired=True,
        n_resamples=3000,
        rng=np.random.default_rng(2),
    )
    assert own == pytest.approx(drawn.standard_error, rel=0.12)


def test_pairing_removes_what_scenes_do_to_both() -> None:
    first, second = alike(3)
    paired = difference_of([mean_of(first)], [mean_of(second)])
    apart = difference_of([mean_of(first, kept=False)], [mean_of(second)])
    assert paired is not None
    assert apart is not None
    assert (paired.test, apart.test) == ("paired", "unpaired")
    assert paired.value == apart.value
    assert paired.se < apart.se / 3
    assert apart.words.startswith("unpaired errors")


def test_unpaired_errors_add_in_squares_with_welchs_degrees() -> None:
    first, second = (Measurement(value=v, se=e, n=200) for v, e in ((3.0, 0.3), (1.0, 0.4)))
    found = unpaired_difference(first, second)
    assert found is not None
    assert found.se == pytest.approx(0.5)
    assert found.df == pytest.approx(0.5**4 / ((0.3**4 + 0.4**4) / 7))
    assert unpaired_difference(first, Measurement(value=1.0)) is None


def test_other_samples_or_another_number_of_blocks_are_not_paired() -> None:
    first, second = alike(4)
    with pytest.raises(ValueError, match="same samples"):
        paired_difference(mean_of(first), mean_of(second[:32]))
    for other in (mean_of(second, blocks=4), mean_of(second[:32])):
        found = difference_of([mean_of(first)], [other])
        assert found is not None
        assert found.test == "unpaired"


def test_the_variance_of_a_crossed_mean_is_that_of_its_components() -> None:
    # By hand: rows 1, 3 and columns 2, 2 make A = 4, C = 0, and E = 4
    table = np.array([[0.0, 2.0], [4.0, 2.0]])
    assert mean_variance(table) == pytest.approx((1.0, 1.0)), "no effect outweighs the rest"
    table = np.array([[0.0, 1.0, 5.0], [2.0, 4.0, 6.0], [7.0, 8.0, 13.0], [3.0, 5.0, 7.0]])
    g, s = table.shape
    centred = table - table.mean()
    a = s * np.square(centred.mean(1)).sum() / (g - 1)
    c = g * np.square(centred.mean(0)).sum() / (s - 1)
    rest = np.square(centred).sum() - a * (g - 1) - c * (s - 1)
    e = rest / ((g - 1) * (s - 1))
    assert min(a, c) > e
    variance, df = mean_variance(table)
    assert variance == pytest.approx((a + c - e) / (g * s))
    assert df == pytest.approx((a + c - e) ** 2 / (a**2 / 3 + c**2 / 2 + e**2 / 6))


def test_a_claim_over_seeds_needs_three_of_them() -> None:
    rng = np.random.default_rng(5)
    scenes = rng.normal(0, 5, ROWS)
    rows = [
        [mean_of(scenes + seed + rng.normal(0, 1, ROWS)) for seed in rng.normal(0, 1, 3)]
        for _ in range(2)
    ]
    two, three = (difference_of(rows[0][:n], rows[1][:n]) for n in (2, 3))
    assert two == paired_difference(rows[0][0], rows[1][0])
    assert three is not None
    assert (three.test, three.seeds, three.blocks) == ("crossed", 3, 8)
    assert three.value == pytest.approx(
        np.mean([a.value - b.value for a, b in zip(*rows, strict=True)])
    )
    assert three.words == "crossed scenes x seeds, 8 blocks, 3 label seeds"


def test_seeds_that_change_nothing_leave_the_paired_error_and_no_fewer_degrees() -> None:
    first, second = alike(6)
    one = paired_difference(mean_of(first), mean_of(second))
    same = crossed_difference([mean_of(first)] * 3, [mean_of(second)] * 3)
    assert (same.value, same.se, same.df) == pytest.approx((one.value, one.se, one.df))


def test_a_seed_without_blocks_is_left_out_of_a_claim_over_seeds() -> None:
    pairs = [alike(seed) for seed in range(4)]
    firsts, seconds = ([mean_of(pair[i]) for pair in pairs] for i in range(2))
    bare = mean_of(pairs[3][0], kept=False)
    found = difference_of([*firsts[:3], bare], seconds)
    assert found == crossed_difference(firsts[:3], seconds[:3])


def test_what_has_no_error_bears_no_difference() -> None:
    assert difference_of([Measurement(value=1.0)], [Measurement(value=2.0, se=0.1)]) is None
    with pytest.raises(ValueError, match="for every seed"):
        difference_of([], [])
    with pytest.raises(ValueError, match="two seeds"):
        crossed_difference([mean_of(alike(0)[0])], [mean_of(alike(0)[1])])


def test_a_difference_without_error_is_certain() -> None:
    assert Difference(0.0, 0.0, 7, "paired").p_equal() == 1.0
    assert Difference(1.0, 0.0, 7, "paired").p_equal() == 0.0
    assert Difference(0.0, 0.0, 7, "paired").p_at_least(0.1) == 0.0
    assert Difference(1.0, 0.0, 7, "paired").interval() == (1.0, 1.0)


@pytest.mark.parametrize(("rows", "blocks"), [(3, 0), (4, 2), (9, 4), (16, 8), (192, 8)])
def test_blocks_have_two_rows_at_least_and_are_eight_at_most(rows: int, blocks: int) -> None:
    left = leave_out_blocks(len, np.arange(rows))
    assert len(left) == blocks
    assert (rows - left >= 2).all()
    assert (rows - left).sum() == (rows if blocks else 0), "every row is left out once"


def test_one_block_makes_no_error() -> None:
    with pytest.raises(ValueError, match="two blocks"):
        jackknife_error(np.array([1.0]))
