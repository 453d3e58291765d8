"""What the ranker has to beat: ridge and a random forest on which slots are kept, and cost alone.

Fitted baselines are plain arrays, so that they are saved beside the ranker without pickle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from sdsearch.ranker.features import CATEGORICAL, REMOVED, FeatureLayout, SlotFeatures

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES = 32
"""Bootstrap resamples of labels that ridge is fitted to for its spread."""
_TREES = 100
_PENALTIES = np.logspace(-2, 3, 11)


def kept_slots(features: SlotFeatures, layout: FeatureLayout) -> Floats:
    """Which slots are kept, as 0 and 1: (..., 46)."""
    state = features.categorical[..., CATEGORICAL.index("state")]
    kept: Floats = (state != layout.vocabularies["state"].index(REMOVED)).astype(np.float64)
    return kept


@dataclass(frozen=True, slots=True)
class Linear:
    """A fitted ridge regression; `pairs` holds the effects of products of two columns.

    `deviations` are those of coefficients and, last, intercept, where labels are drawn again: one
    row of zeros where nothing is known of them. Their mean is 0.
    """

    coefficients: Floats  # (columns,)
    intercept: Floats  # ()
    pairs: Floats  # (columns, columns), zeros where the model is additive
    deviations: Floats  # (resamples, columns + 1)

    @classmethod
    def single(
        cls, coefficients: Floats, intercept: Floats | float, pairs: Floats | None = None
    ) -> Linear:
        """One that says nothing of its spread."""
        columns = len(coefficients)
        nothing = np.zeros((columns, columns))
        return cls(
            coefficients,
            np.asarray(intercept),
            nothing if pairs is None else pairs,
            np.zeros((1, columns + 1)),
        )

    @property
    def fits(self) -> int:
        """How many fits its spread is taken over."""
        return len(self.deviations)

    def predict(self, x: Floats) -> Floats:
        """(n, columns) -> (n,)."""
        additive: Floats = x @ self.coefficients + self.intercept
        return additive + ((x @ self.pairs) * x).sum(1) if self.pairs.any() else additive

    def deviate(self, x: Floats) -> Floats:
        """How predictions change where labels are drawn again: (n, columns) -> (n, resamples)."""
        found: Floats = x @ self.deviations[:, :-1].T + self.deviations[:, -1]
        return found


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted random forest over 0/1 columns; a leaf is its own child."""

    column: Ints  # (trees, nodes)
    child: Ints  # (trees, nodes, 2): where to go on 0 and on 1
    value: Floats  # (trees, nodes)
    fits: ClassVar = 1

    def predict(self, x: Floats) -> Floats:
        """(n, columns) -> (n,)."""
        bits = x.astype(np.int64)
        total = np.zeros(len(x))
        rows = np.arange(len(x))
        for column, child, value in zip(self.column, self.child, self.value, strict=True):
            at = np.zeros(len(x), dtype=np.int64)
            while True:
                following = child[at, bits[rows, column[at]]]
                if (following == at).all():
                    break
                at = following
            total += value[at]
        return total / len(self.value)

    def deviate(self, x: Floats) -> Floats:
        """Nothing is known of it: zeros, (n, 1)."""
        return np.zeros((len(x), 1))


def fit_ridge(
    x: Floats,
    y: Floats,
    weight: Floats | None = None,
    *,
    with_pairs: bool = False,
    rng: np.random.Generator | None = None,
) -> Linear:
    """Ridge regression, its penalty chosen by leave-one-out error; the mean for under 3 rows.

    `with_pairs` adds the products of all two columns that vary; `weight` (n,) says how much each
    row counts. With `rng` an additive one is also fitted to `RESAMPLES` bootstrap resamples of the
    rows (Efron and Tibshirani, 1993, section 9.5: pairs).
    """
    from sklearn.linear_model import RidgeCV

    columns = x.shape[1]
    if len(y) < 3 or np.ptp(y) == 0:
        return Linear.single(np.zeros(columns), np.average(y, weights=weight))
    varying = np.flatnonzero(np.ptp(x, axis=0) > 0)
    first, second = (varying[index] for index in np.triu_indices(len(varying), 1))
    wide = np.concatenate([x, x[:, first] * x[:, second]], axis=1) if with_pairs else x
    model = RidgeCV(alphas=_PENALTIES).fit(wide, y, sample_weight=weight)
    found = np.asarray(model.coef_, dtype=np.float64)
    pairs = np.zeros((columns, columns))
    if with_pairs:
        pairs[first, second] = found[columns:]
    fitted = Linear.single(found[:columns], model.intercept_, pairs)
    if rng is None or with_pairs:
        return fitted
    weight = np.ones(len(y)) if weight is None else weight
    return replace(fitted, deviations=_resample(x, y, weight, rng))


def _resample(x: Floats, y: Floats, weight: Floats, rng: np.random.Generator) -> Floats:
    """(resamples, columns + 1) coefficients and intercepts of resampled rows, less their mean.

    Each resample chooses its own penalty: the one that all rows choose by luck would hide how
    little they know. A row that is drawn several times counts so often, and is left out as one.
    """
    drawn = rng.multinomial(len(y), np.full(len(y), 1 / len(y)), size=RESAMPLES)
    found = []
    for times in drawn:
        there = times > 0
        one = fit_ridge(x[there], y[there], (weight * times)[there])
        found.append([*one.coefficients, one.intercept])
    deviations: Floats = np.array(found) - np.mean(found, axis=0)
    return deviations


def fit_scale(x: Floats, y: Floats, weight: Floats | None = None) -> Linear:
    """The order of one column, the larger the worse, in the units of the target.

    Mean and deviation are the target's; labels say nothing about the order.
    """
    slope = -(y.std() or 1.0) / (x.std() or 1.0)
    centre = np.average(y, weights=weight) - slope * x.mean()
    return Linear.single(np.array([slope]), centre)


def fit_forest(x: Floats, y: Floats, seed: int, weight: Floats | None = None) -> Forest:
    """A random forest of 100 trees; `x` holds only 0 and 1."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(
        _TREES, min_samples_leaf=2, max_features=1 / 3, random_state=seed
    ).fit(x, y, sample_weight=weight)
    trees = [tree.tree_ for tree in model.estimators_]
    nodes = max(tree.node_count for tree in trees)
    column = np.zeros((_TREES, nodes), dtype=np.int64)
    child = np.tile(np.arange(nodes)[None, :, None], (_TREES, 1, 2))
    value = np.zeros((_TREES, nodes))
    for number, tree in enumerate(trees):
        size, inner = tree.node_count, tree.children_left >= 0
        column[number, :size] = np.where(inner, tree.feature, 0)
        child[number, :size][inner] = np.stack([tree.children_left, tree.children_right], 1)[inner]
        value[number, :size] = tree.value[:, 0, 0]
    return Forest(column, child, value)
