"""Fitting: an ensemble trained as one module, beside baselines on the same folds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from sdsearch.design import LEAST_ERROR, LabelWorth, PredictorKind, log_errors
from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.ranker.baselines import Forest, Linear, kept_slots
from sdsearch.ranker.features import FeatureLayout, encode_all
from sdsearch.ranker.training import FittedNet, RankerConfig, fit_net, training_rows
from sdsearch.ranker.validation import (
    PROBE_SCALE,
    PROBED,
    Quality,
    baselines_out_of_fold,
    check_fitted,
    choose_kind,
    columns_of,
    fit_baselines,
    fit_of,
    rate_predictions,
    split_folds,
)
from sdsearch.space import add_up, with_option
from sdsearch.unet import UNPRUNED, build_graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdsearch.design import Probe
    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture

Floats = npt.NDArray[np.float64]


class FitReport(FrozenModel):
    """What a fit learned, all of it measured out of fold.

    `worth` says what more labels are expected to bring to the study's designs; None where there are
    too few labels to halve, or the budget admits no designs.
    """

    labels: int
    failed: int
    kind: PredictorKind
    reason: str
    predictors: dict[str, Quality]
    hops: tuple[Quality, ...]
    members: int
    seconds: float
    worth: LabelWorth | None = None

    def __repr__(self) -> str:
        quality = self.predictors.get(self.kind)
        found = quality and f": SRCC {quality.srcc:.3f} [{quality.low:.2f}, {quality.high:.2f}]"
        return f"FitReport({self.kind} on {self.labels} labels{found or ''})"

    def __str__(self) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class FittedRanker:
    """All predictors that were fitted, and which of them is used; predictions are in target units.

    `errors` are a probe's, per unit those of its options, where there is a probe. Without labels
    the probe is all there is: "predictions" are then minus the logarithm of the one-shot error.
    """

    config: RankerConfig
    layout: FeatureLayout
    report: FitReport
    nets: Mapping[PredictorKind, FittedNet]
    baselines: Mapping[PredictorKind, Linear | Forest]
    errors: tuple[Floats, ...] | None = None

    @property
    def kind(self) -> PredictorKind:
        """The predictor in use."""
        return self.report.kind

    @property
    def net(self) -> FittedNet | None:
        """The nets in use; None where a baseline is."""
        return self.nets.get(self.kind)

    def predict(self, architectures: Sequence[Architecture], space: SearchSpace) -> Floats:
        """Predicted target by each ensemble member: (architectures, members).

        Those of ridge are its fits to resampled labels, shifted so that their mean is its fit to
        all labels; other baselines have one.
        """
        if self.net is not None:
            return self.net.predict(encode_all(architectures, space.backbone, self.net.layout))
        kept = kept_slots(encode_all(architectures, space.backbone, self.layout), self.layout)
        logs = None if self.errors is None else errors_of(architectures, space, self.errors)
        model, seen = self.baselines[self.kind], columns_of(self.kind, kept, logs)
        return model.predict(seen)[:, None] + model.deviate(seen)


def fit_ranker(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    y: Sequence[float | None],
    config: RankerConfig,
    rng: np.random.Generator,
    errors: Sequence[float | None] = (),
    probe: Probe | None = None,
) -> FittedRanker:
    """Fit on labelled architectures; `y` is higher-is-better, None for a failed one.

    A failed architecture counts as the worst measured one: dropping it would hide what fails.
    `errors` are standard errors of `y`: noisy labels count less in the squared error. With a
    `probe` its errors are a column of the nets and of ridge, beside those without.
    """
    start = time.monotonic()
    target = _with_failures(architectures, y)
    weight = label_weights(target, errors)
    options = None if probe is None else probe.option_errors(space)
    logs = None if options is None else errors_of(architectures, space, options)
    plain = FeatureLayout.for_space(space)
    features = encode_all(architectures, space.backbone, plain)
    held = split_folds(len(target), config.folds, config.repeats, rng)
    first_weights = int(rng.integers(2**63))
    seed = int(rng.integers(2**31))
    train = training_rows(held, rng)
    nets: dict[PredictorKind, FittedNet] = {}
    guesses: dict[str, Floats] = {}
    hops: dict[str, tuple[Floats, ...]] = {}
    for name, layout in _layouts(plain, space, probe, config).items():
        encoded = features if layout is plain else encode_all(architectures, space.backbone, layout)
        generator = torch.Generator().manual_seed(first_weights)
        nets[name], found = fit_net(layout, encoded, target, weight, held, train, config, generator)
        guesses[name], hops[name] = found.predicted, found.hops
    kept, baselines = kept_slots(features, plain), dict[PredictorKind, Linear | Forest]()
    if config.baselines:
        costs = _costs(architectures, space)
        guesses |= baselines_out_of_fold(kept, costs, target, weight, held, seed, logs)
        baselines = fit_baselines(kept, target, weight, seed, logs)
    qualities = {name: rate_predictions(target, guess, rng) for name, guess in guesses.items()}
    kind, reason = config.kind, "the only one fitted"
    if kind == "auto" or config.baselines:
        kind, reason = choose_kind(config.kind, target, guesses, qualities, rng)
    report = FitReport(
        labels=len(target),
        failed=sum(value is None for value in y),
        kind=kind,
        reason=reason,
        predictors=qualities,
        hops=tuple(rate_predictions(target, guess, rng) for guess in hops.get(kind) or hops["gnn"]),
        members=len(held),
        seconds=time.monotonic() - start,
    )
    return FittedRanker(config, plain, report, nets, baselines, options)


def _layouts(
    plain: FeatureLayout, space: SearchSpace, probe: Probe | None, config: RankerConfig
) -> dict[PredictorKind, FeatureLayout]:
    """What each net that is to be fitted sees of a slot; `plain` is without a probe."""
    found: dict[PredictorKind, FeatureLayout] = {"gnn": plain}
    if probe is not None:
        found["gnn-probe"] = FeatureLayout.for_space(space, probe.slot_errors(space))
    if config.baselines or config.kind == "auto":
        return found
    check_fitted(config.kind, found)
    return {config.kind: found[config.kind]}


def rank_by_probe(space: SearchSpace, probe: Probe, config: RankerConfig) -> FittedRanker:
    """The ranker of a study without labels: the order of the probe's one-shot errors.

    Raises:
        InputError: the configuration asks for a predictor that learns from labels.
    """
    if config.kind not in ("auto", "one-shot"):
        raise InputError(
            f"kind = {config.kind!r} in [ranker] learns from labels, but there are none; run: "
            'sdsearch label STUDY, or take kind = "one-shot"'
        )
    report = FitReport(
        labels=0,
        failed=0,
        kind="one-shot",
        reason="there are no labels: architectures are ordered by the probe alone",
        predictors={},
        hops=(),
        members=0,
        seconds=0.0,
    )
    order = Linear.single(np.array([-1.0]), 0.0)
    layout, errors = FeatureLayout.for_space(space), probe.option_errors(space)
    return FittedRanker(config, layout, report, {}, {"one-shot": order}, errors)


@dataclass(frozen=True, slots=True)
class LinearLearner:
    """A linear predictor that is fitted to some labels at a time, and predicts the whole space.

    Attributes:
        kind: "ridge", "ridge-probe" or "one-shot".
        target: (n,) of all labels, a failed one as the worst.
        weight: (n,) how much each counts.
        kept: (n, 46) which slots they keep, 0 or 1.
        options: per unit (options, 46) what each changes in the slots that the unpruned net keeps.
        unpruned: (46,) those.
        logs, all_logs: logarithms of one-shot errors, (n,) of the labels, (len(space),) of members.
    """

    kind: PredictorKind
    target: Floats
    weight: Floats
    kept: Floats
    options: tuple[Floats, ...]
    unpruned: Floats
    logs: Floats | None
    all_logs: Floats | None

    @classmethod
    def of(
        cls,
        kind: PredictorKind,
        space: SearchSpace,
        architectures: Sequence[Architecture],
        y: Sequence[float | None],
        errors: Sequence[float | None] = (),
        probe: Probe | None = None,
    ) -> LinearLearner:
        """One for these labels; the arguments are those of `fit_ranker`."""
        layout, target = FeatureLayout.for_space(space), _with_failures(architectures, y)

        def kept(archs: Sequence[Architecture]) -> Floats:
            return kept_slots(encode_all(archs, space.backbone, layout), layout)

        (unpruned,) = kept([UNPRUNED])
        alone = [
            [with_option(space, axis, option) for option in range(radix)]
            for axis, radix in enumerate(space.radices)
        ]
        options = probe.option_errors(space) if probe is not None and kind in PROBED else None
        return cls(
            kind,
            target,
            label_weights(target, errors),
            kept(architectures),
            tuple(kept(archs) - unpruned for archs in alone),
            unpruned,
            None if options is None else errors_of(architectures, space, options),
            None if options is None else log_errors(options),
        )

    def learn(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Fitted to some labels: predictions of all of them, (n,), and of all members."""
        seen = columns_of(self.kind, self.kept, self.logs)
        model = fit_of(self.kind, 0)(seen[rows], self.target[rows], self.weight[rows])
        assert isinstance(model, Linear), f"{self.kind} is no linear predictor"
        # Linear: what an option changes is the same whatever the other units are.
        slots, own = len(self.unpruned), model.coefficients
        members = np.zeros(1)
        if self.kind != "one-shot":
            members = add_up([option @ own[:slots] for option in self.options])
            members += self.unpruned @ own[:slots]
        if self.all_logs is not None:
            scale = PROBE_SCALE if self.kind == "ridge-probe" else 1.0
            members = members + own[-1] * scale * self.all_logs
        return model.predict(seen), members + model.intercept


def errors_of(
    architectures: Sequence[Architecture], space: SearchSpace, errors: Sequence[Floats]
) -> Floats:
    """(n,) the logarithms of the one-shot errors of members; `errors` are those of the options."""
    digits = np.array([space.option_indices(arch) for arch in architectures])
    total = sum(one[digits[:, axis]] for axis, one in enumerate(errors))
    found: Floats = np.log(total + LEAST_ERROR)
    return found


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
