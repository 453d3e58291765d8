"""Validation: repeated k-fold, pooled out-of-fold predictions, baselines on the same folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.ranker.baselines import Forest, Linear, fit_forest, fit_ridge, fit_scale
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
    from collections.abc import Collection, Mapping

    from sdsearch.design import PredictorKind

Floats = npt.NDArray[np.float64]
Fit = Callable[[Floats, Floats, Floats], Linear | Forest]
"""Columns (n, c), targets (n,) and weights (n,) to a fitted baseline."""
Held = npt.NDArray[np.bool_]  # (members, n): what each ensemble member does not train on
NETS: tuple[PredictorKind, ...] = ("gnn", "gnn-probe")
BASELINES: tuple[PredictorKind, ...] = ("ridge", "ridge-pairs", "forest")
PROBED: tuple[PredictorKind, ...] = ("ridge-probe", "one-shot")
"""Baselines that need a probe."""
FEWEST_TO_LEARN = 8
"""Labels from which on a predictor may replace a probe's order: fewer were never tried."""
PROBE_SCALE = 3.0
"""What ridge sees of a probe is so much larger than a block: its penalty holds it back less."""

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
    kept: Floats,
    costs: Floats,
    y: Floats,
    weight: Floats,
    held: Held,
    seed: int,
    logs: Floats | None = None,
) -> dict[str, Floats]:
    """Pooled held-out predictions of the baselines, of params alone and of MACs alone.

    `kept` is (n, 46) kept slots, `costs` (n, 2) params and MACs, `weight` (n,) of the labels,
    `logs` (n,) the logarithms of a probe's one-shot errors where there is one.
    """
    fits: dict[str, tuple[Floats, Fit]] = {
        **{name: (columns_of(name, kept, logs), fit_of(name, seed)) for name in _known(logs)},
        "params": (np.log(costs[:, :1]), fit_ridge),
        "macs": (np.log(costs[:, 1:]), fit_ridge),
    }
    found = {}
    for name, (columns, fit) in fits.items():
        guesses = [fit(columns[~out], y[~out], weight[~out]).predict(columns) for out in held]
        found[name] = average_held_out(np.stack(guesses), held)
    return found


def fit_baselines(
    kept: Floats, y: Floats, weight: Floats, seed: int, logs: Floats | None = None
) -> dict[PredictorKind, Linear | Forest]:
    """All baselines on all labels; the arguments are those of `baselines_out_of_fold`.

    Ridge is fitted to resampled labels too, for its spread.
    """
    return {
        name: fit_of(name, seed, np.random.default_rng(seed))(
            columns_of(name, kept, logs), y, weight
        )
        for name in _known(logs)
    }


def columns_of(kind: PredictorKind, kept: Floats, logs: Floats | None) -> Floats:
    """What a baseline sees of architectures, (n, columns): `kept` (n, 46), `logs` (n,) or both."""
    if kind not in PROBED:
        return kept
    assert logs is not None, f"{kind} needs a probe"
    if kind == "one-shot":
        return logs[:, None]
    return np.concatenate([kept, PROBE_SCALE * logs[:, None]], axis=1)


def fit_of(kind: PredictorKind, seed: int, rng: np.random.Generator | None = None) -> Fit:
    """How a baseline is fitted to columns, targets and weights; with `rng` ridge has a spread."""
    if kind == "forest":
        return lambda x, y, weight: fit_forest(x, y, seed, weight)
    if kind == "one-shot":
        return fit_scale
    if kind == "ridge-probe":
        return lambda x, y, weight: _fit_probed_ridge(x, y, weight, rng)
    return lambda x, y, weight: fit_ridge(x, y, weight, with_pairs=kind == "ridge-pairs", rng=rng)


def _fit_probed_ridge(
    x: Floats, y: Floats, weight: Floats, rng: np.random.Generator | None
) -> Linear:
    """Ridge on blocks and, in the last column, a probe; the probe's order where labels have none.

    Ridge of fewer than 3 labels, or of labels that are all alike, is a constant.
    """
    if len(y) >= 3 and np.ptp(y) > 0:
        return fit_ridge(x, y, weight, rng=rng)
    order = fit_scale(x[:, -1:], y, weight)
    coefficients = np.zeros(x.shape[1])
    coefficients[-1:] = order.coefficients
    return Linear.single(coefficients, order.intercept)


def _known(logs: Floats | None) -> tuple[PredictorKind, ...]:
    return BASELINES if logs is None else (*BASELINES, *PROBED)


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


def check_fitted(asked: PredictorKind, fitted: Collection[PredictorKind]) -> None:
    """Raise `InputError` where what is asked for could not be fitted without a probe."""
    if asked not in fitted:
        raise InputError(
            f"kind = {asked!r} in [ranker] needs a probe, but there is none; run: "
            "sdsearch probe STUDY"
        )


def choose_kind(
    asked: PredictorKind | Literal["auto"],
    y: Floats,
    guesses: Mapping[str, Floats],
    qualities: Mapping[str, Quality],
    rng: np.random.Generator,
) -> tuple[PredictorKind, str]:
    """The predictor to use and why, in words.

    `auto` is ridge with the probe where there is a probe, and else the GNN; but the best of the
    others where it ranks the same held-out labels better beyond noise: the 95 % interval of its
    gain, paired over labels, lies above 0. With a probe and fewer than `FEWEST_TO_LEARN` labels it
    is the probe's order alone.

    Raises:
        InputError: what is asked for needs a probe, and there is none.
    """
    rivals: list[PredictorKind] = [n for n in (*NETS, *BASELINES, *PROBED) if n in guesses]
    if asked != "auto":
        check_fitted(asked, rivals)
    if asked == "auto" and "one-shot" in rivals and len(y) < FEWEST_TO_LEARN:
        return "one-shot", (
            f"{len(y)} labels are too few to learn an order from (at least {FEWEST_TO_LEARN}): "
            "architectures are ordered by the probe, labels give the scale"
        )
    first: PredictorKind = "ridge-probe" if "ridge-probe" in rivals else "gnn"
    best = max((n for n in rivals if n != first), key=lambda name: qualities[name].srcc)
    gain = spearman_gain_interval(y, guesses[best], guesses[first], rng)
    own = qualities[first]
    found = (
        f"out-of-fold SRCC {own.srcc:.2f} [{own.low:.2f}, {own.high:.2f}] for {first},"
        f" {qualities[best].srcc:.2f} for {best}, the best of the others, whose gain is"
        f" [{gain.low:+.2f}, {gain.high:+.2f}]"
    )
    if asked != "auto":
        return asked, f"chosen by the user; {found}"
    if gain.low > 0:
        return best, f"{best} ranks held-out labels better than {first}, beyond noise; {found}"
    if qualities[best].srcc > own.srcc:
        return first, f"{best} is ahead, but not beyond noise; {found}"
    return first, f"{first} ranks held-out labels best; {found}"
