"""A slice of the coverage simulations, and what the committed run of all of them says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage import (
    SIMULATIONS,
    Case,
    Distances,
    Means,
    errs_among_many,
    expected_distance,
    holds,
    is_called_good,
    share_of,
)

COMMITTED = Path(__file__).resolve().parents[2] / "benchmarks" / "coverage.txt"


def slice_of(ask, simulations: int) -> float:
    return share_of(Case("a slice", ask, 0.0, 1.0), simulations, seed=7)[0]


@pytest.mark.parametrize("truths", [Means(), Means(seeds=3, seed=0.1)], ids=["paired", "crossed"])
def test_nineteen_of_twenty_intervals_hold_a_true_difference_of_means(truths: Means) -> None:
    # Three binomial errors of 250 draws are 4 %.
    assert 0.91 <= slice_of(lambda rng: holds(truths, rng), 250) <= 0.99


def test_nineteen_of_twenty_intervals_hold_a_true_difference_of_distances() -> None:
    truth = expected_distance(0.0, np.random.default_rng(8), draws=400)
    assert 0.90 <= slice_of(lambda rng: holds(Distances(truth), rng), 120) <= 1.0


def test_a_loss_of_the_margin_is_rarely_called_as_good() -> None:
    assert slice_of(lambda rng: is_called_good(Means(), rng), 250) <= 0.055


def test_equal_designs_are_rarely_told_apart() -> None:
    assert slice_of(errs_among_many, 100) <= 0.12


def test_every_share_of_the_committed_run_is_as_it_must_be() -> None:
    text = COMMITTED.read_text(encoding="utf-8")
    assert text.startswith(f"{SIMULATIONS:,} simulations a case")
    rows = re.findall(r"^ *([\d.]+)% ± [\d.]+%  \((?:([\d.]+)% to|<=) ([\d.]+)%\)  ", text, re.M)
    assert len(rows) == len(text.strip().splitlines()) - 2 >= 14
    for share, least, most in rows:
        assert float(least or 0) <= float(share) <= float(most)
