"""Fitting: an ensemble trained as one module, beside baselines on the same folds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.ranker.baselines import Forest, Linear, kept_slots
from sdsearch.ranker.features import FeatureLayout, encode_all
from sdsearch.ranker.losses import CorrelationMode, average_rank, pearson, soft_spearman
from sdsearch.ranker.net import PlanTensors, Ranker
from sdsearch.ranker.plan import plan_batch
from sdsearch.ranker.validation import (
    BASELINES,
    Held,
    PredictorKind,
    Quality,
    average_held_out,
    baselines_out_of_fold,
    choose_kind,
    fit_of,
    rate_predictions,
    split_folds,
)
from sdsearch.unet import build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

Floats = npt.NDArray[np.float64]


class RankerConfig(FrozenModel):
    """How to fit; `auto` is the GNN unless a baseline ranks held-out labels clearly better.

    Without `baselines` the GNN, which `kind` must then be, is fitted and measured alone.
    """

    kind: PredictorKind | Literal["auto"] = "auto"
    hops: int = Field(4, ge=1)
    width: int = Field(32, ge=1)
    # More steps fit noise: on planted truths with 10-15 % of it, 600 lose .05 of held-out SRCC.
    steps: int = Field(200, ge=1)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    rank_weight: float = Field(1.0, ge=0)
    correlation: CorrelationMode = "spearman"
    folds: int = Field(5, ge=2)
    repeats: int = Field(2, ge=1)
    baselines: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.baselines and self.kind != "gnn":
            raise ValueError(f"without baselines, kind must be 'gnn', but is {self.kind!r}")
        return self


class FitReport(FrozenModel):
    """What a fit learned, all of it measured out of fold."""

    labels: int
    failed: int
    kind: PredictorKind
    reason: str
    predictors: dict[str, Quality]
    hops: tuple[Quality, ...]
    members: int
    seconds: float

    def __repr__(self) -> str:
        quality = self.predictors[self.kind]
        return (
            f"FitReport({self.kind} on {self.labels} labels: SRCC {quality.srcc:.3f} "
            f"[{quality.low:.2f}, {quality.high:.2f}])"
        )

    def __str__(self) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """A fitted ensemble with the baselines; predictions are in units of the target."""

    config: RankerConfig
    layout: FeatureLayout
    report: FitReport
    ranker: Ranker
    centre: Tensor  # (members,) mean target of each member's training labels
    spread: Tensor  # (members,) their deviation
    baselines: Mapping[PredictorKind, Linear | Forest]

    @property
    def kind(self) -> PredictorKind:
        """The predictor in use."""
        return self.report.kind

    def predict(self, architectures: Sequence[Architecture], space: SearchSpace) -> Floats:
        """Predicted target by each ensemble member: (architectures, members or 1)."""
        features = encode_all(architectures, space.backbone, self.layout)
        if self.kind != "gnn":
            kept = kept_slots(features, self.layout)
            return self.baselines[self.kind].predict(kept)[:, None]
        with torch.inference_mode():
            plan = PlanTensors.of(plan_batch(features, self.config.hops))
            found: Tensor = self.ranker(plan)[0] * self.spread + self.centre
        return found.double().numpy()


def fit_ranker(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    y: Sequence[float | None],
    config: RankerConfig,
    rng: np.random.Generator,
    errors: Sequence[float | None] = (),
) -> FittedRanker:
    """Fit on labelled architectures; `y` is higher-is-better, None for a failed one.

    A failed architecture counts as the worst measured one: dropping it would hide what fails.
    `errors` are standard errors of `y`: noisy labels count less in the squared error.
    """
    start = time.monotonic()
    target = _with_failures(architectures, y)
    weight = label_weights(target, errors)
    layout = FeatureLayout.for_space(space)
    features = encode_all(architectures, space.backbone, layout)
    held = split_folds(len(target), config.folds, config.repeats, rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    seed = int(rng.integers(2**31))
    ranker = Ranker(len(held), layout.sizes, config.hops, config.width, generator)
    plan = PlanTensors.of(plan_batch(features, config.hops))
    train = training_rows(held, rng)
    centre, spread = train_ensemble(
        ranker, plan, torch.from_numpy(target), train, config, torch.from_numpy(weight)
    )
    guesses, hops = _out_of_fold(ranker, plan, train, held, centre, spread)
    x = kept_slots(features, layout)
    predictors = {"gnn": guesses}
    if config.baselines:
        costs = _costs(architectures, space)
        predictors |= baselines_out_of_fold(x, costs, target, weight, held, seed)
    qualities = {name: rate_predictions(target, guess, rng) for name, guess in predictors.items()}
    kind, reason = config.kind, "the only one fitted"
    if kind == "auto" or config.baselines:
        kind, reason = choose_kind(config.kind, target, predictors, qualities, rng)
    report = FitReport(
        labels=len(target),
        failed=sum(value is None for value in y),
        kind=kind,
        reason=reason,
        predictors=qualities,
        hops=tuple(rate_predictions(target, guess, rng) for guess in hops),
        members=len(held),
        seconds=time.monotonic() - start,
    )
    wanted = BASELINES if config.baselines else ()
    baselines = {name: fit_of(name, seed)(x, target, weight) for name in wanted}
    return FittedRanker(config, layout, report, ranker, centre, spread, baselines)


def label_weights(y: Floats, errors: Sequence[float | None]) -> Floats:
    """How much each label counts, (n,), 1 on average: 1 / (s^2 + e^2).

    s is a tenth of the labels' deviation, below which an error does not matter; a label without an
    error counts like the median of the others.
    """
    known = [error for error in errors if error is not None]
    if not known:
        return np.ones(len(y))
    middle = float(np.median(known))
    e = np.array([middle if error is None else error for error in errors], dtype=np.float64)
    weight: Floats = 1.0 / np.maximum(np.square(0.1 * y.std()) + np.square(e), 1e-24)
    weight /= weight.mean()
    return weight


def training_rows(held: Held, rng: np.random.Generator) -> Tensor:
    """Indices of each member's training labels, (members, rows) int64.

    Folds differ by one label at most; the shorter rows repeat one label so that all are as long.
    """
    rows = [np.flatnonzero(~out) for out in held]
    longest = max(len(row) for row in rows)
    padded = [np.concatenate([row, rng.choice(row, longest - len(row))]) for row in rows]
    return torch.from_numpy(np.stack(padded).astype(np.int64))


def train_ensemble(
    ranker: Ranker,
    plan: PlanTensors,
    y: Tensor,
    train: Tensor,
    config: RankerConfig,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Train all members in place, full batch; returns each member's target mean and deviation.

    `y` and `weight` are (n,); the weight is of the squared error alone, ranks count all alike.
    """
    importance = torch.ones_like(train, dtype=torch.float32)
    if weight is not None:
        importance = weight[train].float()
        importance = importance / importance.mean(1, keepdim=True)
    rows = y[train]  # (members, rows)
    centre, spread = rows.mean(1), rows.std(1, correction=0)
    spread = torch.where(spread > 1e-12, spread, torch.ones_like(spread))
    target = (rows - centre[:, None]) / spread[:, None]
    goal = average_rank(target) if config.correlation == "spearman" else target
    correlation = soft_spearman if config.correlation == "spearman" else pearson
    target = target.float()
    goal = goal.float().repeat(config.hops + 1, 1)  # ((hops + 1) * members, rows)
    uses = torch.zeros(len(y), len(train))  # (n, members): how often each trains on a label
    uses.scatter_add_(0, train.T, torch.ones(train.T.shape))
    # Per hop (items, members): the share of an item among all slots that a member trains on
    weights = [count.T @ uses for count in plan.counts]
    weights = [weight / weight.sum(0) for weight in weights]
    optimizer = torch.optim.AdamW(
        ranker.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for _ in range(config.steps):
        predicted, norms = ranker(plan, weights)  # (n, members), (hops + 1, n, members)
        error = (importance * (predicted.T.gather(1, train) - target).square()).mean(1)
        index = train.expand(len(norms), -1, -1)  # (hops + 1, members, rows)
        rho = correlation(norms.transpose(1, 2).gather(2, index).flatten(0, 1), goal)
        # A sum over members: each trains exactly as it would alone.
        loss = error.sum() + config.rank_weight * (1.0 - rho).sum() / len(norms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        ranker(plan, weights)  # store the statistics of the final weights
    return centre.float(), spread.float()


def _out_of_fold(
    ranker: Ranker,
    plan: PlanTensors,
    train: Tensor,
    held: Held,
    centre: Tensor,
    spread: Tensor,
) -> tuple[Floats, list[Floats]]:
    """Held-out predictions (n,) and, per hop, held-out norms made comparable over members."""
    with torch.no_grad():
        predicted, norms = ranker(plan)
        seen = norms.transpose(1, 2).gather(2, train.expand(len(norms), -1, -1))
        scale = seen.std(2, correction=0).clamp(min=1e-12)
        norms = (norms - seen.mean(2)[:, None]) / scale[:, None]
    guesses = average_held_out((predicted * spread + centre).double().numpy().T, held)
    return guesses, [average_held_out(norm.double().numpy().T, held) for norm in norms]


def _costs(architectures: Sequence[Architecture], space: SearchSpace) -> Floats:
    """Params and MACs of all slots, (n, 2); constants beside the slots do not change the order."""
    graphs = [build_graph(arch, space.backbone) for arch in architectures]
    return np.array([[sum(graph.params), sum(graph.macs)] for graph in graphs], dtype=np.float64)


def _with_failures(architectures: Sequence[Architecture], y: Sequence[float | None]) -> Floats:
    measured = [value for value in y if value is not None]
    if len(architectures) != len(y) or not measured:
        raise InputError(
            "a fit needs one target per architecture and at least one that did not fail, but got"
            f" {len(architectures)} architectures, {len(y)} targets, {len(measured)} measured;"
            " label more architectures first: sdsearch label STUDY"
        )
    if len({arch.key for arch in architectures}) < len(architectures):
        raise InputError(
            "architectures must be distinct, or a fold would know what it holds out, but some"
            " repeat; fit on one label each"
        )
    target = np.array([min(measured) if value is None else value for value in y], dtype=np.float64)
    if not np.isfinite(target).all():
        raise InputError("targets must be finite, but got NaN or infinity among them")
    return target
