"""Validation: repeated k-fold, pooled out-of-fold predictions, baselines on the same folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sdsearch.model import FrozenModel
from sdsearch.ranker.baselines import Forest, Linear, fit_forest, fit_ridge
from sdsearch.stats import (
    bootstrap_interval,
    kendall,
    ndcg_at,
    spearman,
    spearman_gain_interval,
    spearman_interval,
    top_k_regret,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Floats = npt.NDArray[np.float64]
Fit = Callable[[Floats, Floats, Floats], Linear | Forest]
"""Columns (n, c), targets (n,) and weights (n,) to a fitted baseline."""
Held = npt.NDArray[np.bool_]  # (members, n): what each ensemble member does not train on
PredictorKind = Literal["gnn", "ridge", "ridge-pairs", "forest"]
BASELINES: tuple[PredictorKind, ...] = ("ridge", "ridge-pairs", "forest")

TOP = 4  # designs are built by fours, so the top of the ranking is what counts


class Quality(FrozenModel):
    """How well one predictor orders labels that it has not seen.

    `low` and `high` are of `srcc`; `intervals` holds those of the other measures by name. All are
    95 % percentile bootstraps over labels.
    """

    srcc: float
    low: float
    high: float
    kendall: float
    ndcg_at_4: float
    top_4_regret: float
    intervals: dict[str, tuple[float, float]] = Field(default_factory=dict)


def split_folds(n: int, folds: int, repeats: int, rng: np.random.Generator) -> Held:
    """Which labels each member holds out: (repeats * folds, n), each label once per repeat.

    With a single label nothing can be held out: every member then trains on it.
    """
    folds = min(folds, n)
    held = np.zeros((repeats * folds, n), dtype=bool)
    if n < 2:
        return held
    for repeat in range(repeats):
        held[repeat * folds + rng.permutation(n) % folds, np.arange(n)] = True
    return held


def average_held_out(guesses: Floats, held: Held) -> Floats:
    """Mean of (members, n) over the members that held a label out; all members if none did."""
    weight = held.astype(np.float64) if held.any() else np.ones(held.shape)
    pooled: Floats = (guesses * weight).sum(0) / weight.sum(0)
    return pooled


def baselines_out_of_fold(
    x: Floats, costs: Floats, y: Floats, weight: Floats, held: Held, seed: int
) -> dict[str, Floats]:
    """Pooled held-out predictions of the baselines, of params alone and of MACs alone.

    `x` is (n, 46) kept slots, `costs` (n, 2) params and MACs, `weight` (n,) of the labels.
    """
    fits: dict[str, tuple[Floats, Fit]] = {
        **{name: (x, fit_of(name, seed)) for name in BASELINES},
        "params": (np.log(costs[:, :1]), fit_ridge),
        "macs": (np.log(costs[:, 1:]), fit_ridge),
    }
    found = {}
    for name, (columns, fit) in fits.items():
        guesses = [fit(columns[~out], y[~out], weight[~out]).predict(columns) for out in held]
        found[name] = average_held_out(np.stack(guesses), held)
    return found


def fit_of(kind: PredictorKind, seed: int) -> Fit:
    """How a baseline is fitted to columns, targets and weights."""
    if kind == "forest":
        return lambda x, y, weight: fit_forest(x, y, seed, weight)
    return lambda x, y, weight: fit_ridge(x, y, weight, with_pairs=kind == "ridge-pairs")


def rate_predictions(y: Floats, guess: Floats, rng: np.random.Generator) -> Quality:
    """All measures of one predictor's held-out predictions."""
    low, high = spearman_interval(y, guess, rng)
    others: dict[str, Callable[[Floats, Floats], float]] = {
        "kendall": kendall,
        "ndcg_at_4": lambda a, b: ndcg_at(a, b, TOP),
        "top_4_regret": lambda a, b: top_k_regret(a, b, TOP),
    }
    return Quality(
        srcc=spearman(y, guess),
        low=low,
        high=high,
        intervals={
            name: bootstrap_interval(statistic, (y, guess), rng)
            for name, statistic in others.items()
        },
        **{name: statistic(y, guess) for name, statistic in others.items()},
    )


def choose_kind(
    asked: PredictorKind | Literal["auto"],
    y: Floats,
    guesses: Mapping[str, Floats],
    qualities: Mapping[str, Quality],
    rng: np.random.Generator,
) -> tuple[PredictorKind, str]:
    """The predictor to use and why, in words.

    `auto` is the GNN, unless the best baseline ranks the same held-out labels better beyond noise:
    the 95 % interval of its gain, paired over labels, lies above 0.
    """
    gnn = qualities["gnn"]
    best = max(BASELINES, key=lambda name: qualities[name].srcc)
    gain = spearman_gain_interval(y, guesses[best], guesses["gnn"], rng)
    found = (
        f"out-of-fold SRCC {gnn.srcc:.2f} [{gnn.low:.2f}, {gnn.high:.2f}] for gnn,"
        f" {qualities[best].srcc:.2f} for {best}, the best baseline, whose gain is"
        f" [{gain.low:+.2f}, {gain.high:+.2f}]"
    )
    if asked != "auto":
        return asked, f"chosen by the user; {found}"
    if gain.low > 0:
        return best, f"{best} ranks held-out labels better than the GNN, beyond noise; {found}"
    if qualities[best].srcc > gnn.srcc:
        return "gnn", f"{best} is ahead, but not beyond noise; {found}"
    return "gnn", f"the GNN ranks held-out labels best; {found}"
