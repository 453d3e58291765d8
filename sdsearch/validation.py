"""Validation: repeated k-fold, pooled out-of-fold predictions, baselines on the same folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from sdsearch.baselines import Forest, Linear, fit_forest, fit_ridge
from sdsearch.scores import FILE
from sdsearch.stats import kendall, ndcg_at, spearman, spearman_interval, top_k_regret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Floats = npt.NDArray[np.float64]
Held = npt.NDArray[np.bool_]  # (members, n): what each ensemble member does not train on
Kind = Literal["gnn", "ridge", "forest"]

TOP = 4  # designs are built by fours, so the top of the ranking is what counts


class Quality(BaseModel):
    """How well one predictor orders labels that it has not seen."""

    model_config = FILE

    srcc: float
    low: float
    high: float
    kendall: float
    ndcg_at_4: float
    top_4_regret: float


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


def pool(guesses: Floats, held: Held) -> Floats:
    """Mean of (members, n) over the members that held a label out; all members if none did."""
    weight = held.astype(np.float64) if held.any() else np.ones(held.shape)
    pooled: Floats = (guesses * weight).sum(0) / weight.sum(0)
    return pooled


def baselines_out_of_fold(
    x: Floats, costs: Floats, y: Floats, held: Held, seed: int
) -> dict[str, Floats]:
    """Pooled held-out predictions of ridge, forest, params-only and MACs-only.

    `x` is (n, 46) kept slots and `costs` (n, 2) params and MACs.
    """
    fits: dict[str, tuple[Floats, Callable[[Floats, Floats], Linear | Forest]]] = {
        "ridge": (x, fit_ridge),
        "forest": (x, lambda rows, target: fit_forest(rows, target, seed)),
        "params": (np.log(costs[:, :1]), fit_ridge),
        "macs": (np.log(costs[:, 1:]), fit_ridge),
    }
    found = {}
    for name, (columns, fit) in fits.items():
        guesses = np.stack([fit(columns[~out], y[~out]).predict(columns) for out in held])
        found[name] = pool(guesses, held)
    return found


def measure(y: Floats, guess: Floats, rng: np.random.Generator) -> Quality:
    """All measures of one predictor's held-out predictions."""
    low, high = spearman_interval(y, guess, rng)
    return Quality(
        srcc=spearman(y, guess),
        low=low,
        high=high,
        kendall=kendall(y, guess),
        ndcg_at_4=ndcg_at(y, guess, TOP),
        top_4_regret=top_k_regret(y, guess, TOP),
    )


def choose_kind(asked: str, qualities: Mapping[str, Quality]) -> tuple[Kind, str]:
    """The predictor to use and why, in words."""
    gnn = qualities["gnn"]
    names: tuple[Kind, ...] = ("ridge", "forest")
    best = max(names, key=lambda name: qualities[name].srcc)
    found = (
        f"out-of-fold SRCC {gnn.srcc:.2f} [{gnn.low:.2f}, {gnn.high:.2f}] for gnn,"
        f" {qualities[best].srcc:.2f} for {best}, the best baseline"
    )
    if asked != "auto":
        chosen: Kind = "gnn" if asked == "gnn" else "ridge" if asked == "ridge" else "forest"
        return chosen, f"chosen by the user; {found}"
    if qualities[best].srcc > gnn.high:
        return best, f"{best} ranks held-out labels better than the GNN's interval; {found}"
    if qualities[best].srcc > gnn.srcc:
        return "gnn", f"{best} is ahead, but within the GNN's interval; {found}"
    return "gnn", f"the GNN ranks held-out labels best; {found}"
