"""Fitting: the predictor learns from the labels of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.console import working
from sdsearch.design import (
    FEWEST_TO_HALVE,
    RANKER_SCHEMA,
    LabelWorth,
    find_allowed,
    halve_labels,
)
from sdsearch.errors import InputError
from sdsearch.files import write_atomic
from sdsearch.stages.probe import probe_study
from sdsearch.study import (
    is_current,
    load_meter,
    load_space,
    name_teacher,
    outputs_of,
    read_sample,
    record_done,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdsearch.design import PredictorKind, Probe
    from sdsearch.labels import Label
    from sdsearch.ranker import FitReport, FittedRanker
    from sdsearch.space import Meter, Resource
    from sdsearch.study import StudyFolder

_HALVED: tuple[PredictorKind, ...] = ("ridge", "ridge-probe", "one-shot")
"""Predictors that are fitted to half of the labels as they are: each takes milliseconds."""


def fit_study(study: StudyFolder) -> FitReport:
    """Fit the predictor on the labels of the sample, into ranker/; return how well it ranks.

    The report also says what more labels are expected to bring (`weigh_labels`).

    A probe that is there is learned from too, and alone where there are no labels. A fit is current
    as long as labels, their standard errors (which weigh them), the probe, the space, the teacher's
    content and the settings stay.

    Raises:
        InputError: nothing is measured yet.
    """
    labels = training_labels(study)
    has_probe = study.config.needs_probe or study.probe_file.is_file()
    probe = probe_study(study) if has_probe else None
    if all(label.failure for label in labels) and (labels or probe is None):
        raise InputError(_why_no_fit(study, len(labels)))
    inputs = fit_inputs(study, labels)
    from sdsearch.ranker import load_ranker, save_ranker

    if not is_current(study, "fit", inputs):
        with working(f"fitting the predictor on {len(labels)} labels"):
            fitted = _fit(study, labels, probe)
        save_ranker(fitted, study.ranker_dir)
        files = [study.ranker_dir / "ranker.safetensors", study.ranker_dir / "ranker.json"]
        record_done(study, "fit", inputs, files)
    report = load_ranker(study.ranker_dir).report
    worth = weigh_labels(study, labels, probe, report)
    return report if worth is None else report.model_copy(update={"worth": worth})


def is_fitted(study: StudyFolder) -> bool:
    """Whether a fit to the labels as they are is there; a probe that it learns from is current."""
    return is_current(study, "fit", fit_inputs(study, training_labels(study)))


def weigh_labels(
    study: StudyFolder, labels: Sequence[Label], probe: Probe | None, report: FitReport
) -> LabelWorth | None:
    """Whether more labels are expected to change the designs within the budget: ranker/worth.json.

    Ridge on halves of the labels, with the probe where there is one, stands in for predictors that
    take seconds to fit. None where there are too few labels, or the budget admits no designs.
    """
    build, meter = study.config.build, load_meter(study)
    try:
        limits = meter.limits(build.budget)
    except InputError:  # a problem that is told where designs are built
        return None
    if len(labels) < FEWEST_TO_HALVE:
        return None
    inputs = {
        "fit": outputs_of(study, "fit"),
        "limits": limits,
        "dtype": meter.dtype,
        "latency_table": meter.table and meter.table.model_dump(mode="json"),
        "top": build.top,
        **({"loads_in": list(build.loads_in)} if build.loads_in else {}),
        "margin": study.config.report.margin,
    }
    file = study.ranker_dir / "worth.json"
    if not is_current(study, "worth", inputs):
        worth = _halve(study, labels, probe, report, (meter, limits))
        if worth is None:
            return None
        write_atomic(file, worth.to_json(indent=2) + "\n", study.root)
        record_done(study, "worth", inputs, [file])
    return LabelWorth.read(file, "what labels are worth", f"sdsearch fit {study.root}")


def _halve(
    study: StudyFolder,
    labels: Sequence[Label],
    probe: Probe | None,
    report: FitReport,
    within: tuple[Meter, Mapping[Resource, float]],
) -> LabelWorth | None:
    """`weigh_labels` of the space's members `within` the limits that a meter counts."""
    from sdsearch.ranker import LinearLearner

    (meter, limits), top = within, study.config.build.top
    try:
        allowed = find_allowed(meter, limits, top)
    except InputError:  # too
        return None
    stand_in: PredictorKind = "ridge" if probe is None else "ridge-probe"
    kind = report.kind if report.kind in _HALVED else stand_in
    target = study.config.ranker.target
    learner = LinearLearner.of(
        kind,
        meter.space,
        [label.architecture for label in labels],
        training_targets(study, labels),
        [target.standard_error(label) for label in labels],
        probe,
    )
    rng = np.random.default_rng(study.config.space.seed)
    srcc, losses = halve_labels(learner.target, learner.learn, allowed, top, rng)
    column = target.log_column
    shares = np.expm1(losses) if column else losses / (learner.target.std() or 1.0)
    low, high = np.quantile(shares, (0.025, 0.975))
    return LabelWorth(
        labels=len(labels),
        half=len(labels) // 2,
        draws=len(losses),
        kind=kind,
        used=report.kind,
        srcc=report.predictors[kind].srcc,
        srcc_half=srcc,
        designs=top,
        loss=float(shares.mean()),
        low=float(low),
        high=float(high),
        unit=column or "the labels' spread",
        margin=study.config.report.margin,
    )


def _fit(study: StudyFolder, labels: Sequence[Label], probe: Probe | None) -> FittedRanker:
    from sdsearch.ranker import RankerConfig, fit_ranker, rank_by_probe

    settings, space = study.config.ranker, load_space(study)
    config = RankerConfig(kind=settings.kind)
    if not labels:
        assert probe is not None, "without labels and a probe there is nothing to learn from"
        return rank_by_probe(space, probe, config)
    return fit_ranker(
        space,
        [label.architecture for label in labels],
        training_targets(study, labels),
        config,
        np.random.default_rng(study.config.space.seed),
        [settings.target.standard_error(label) for label in labels],
        probe,
    )


def _why_no_fit(study: StudyFolder, failed: int) -> str:
    """What to do where no sampled architecture is measured."""
    drawn = len(read_sample(study).keys_from("sample", "proposal"))
    found = f"{failed} failed" if failed else "none has a label"
    tiny = study.config.teacher.pipeline == "tiny"
    other = ", or import the tiny model's own labels" if tiny else ""
    return (
        f"a fit needs measured architectures, but of {drawn} sampled ones {found}; run: sdsearch "
        f"label {study.root}{other}; without any label a probe can rank them: sdsearch probe "
        f"{study.root}"
    )


def fit_inputs(study: StudyFolder, labels: Sequence[Label]) -> dict[str, Any]:
    """All that a fit depends on; the study is fitted again where any of it changes."""
    settings = study.config.ranker
    targets = training_targets(study, labels)
    errors = [settings.target.standard_error(label) for label in labels]
    keys = [label.arch_key for label in labels]
    return {
        "schema": RANKER_SCHEMA,
        "labels": [list(row) for row in zip(keys, targets, errors, strict=True)],
        "space": study.config.space.model_dump(mode="json"),
        "teacher": name_teacher(study),
        "ranker": settings.model_dump(mode="json", exclude={"rule"}),
        "probe": outputs_of(study, "probe") if study.probe_file.is_file() else None,
    }


def training_labels(study: StudyFolder) -> list[Label]:
    """The labels to learn from: those of what was drawn or proposed, in the study's series."""
    if not study.architectures_file.is_file():
        return []
    drawn = read_sample(study).keys_from("sample", "proposal")
    labels = study.labels.read_series(study.series)
    return [labels[key] for key in drawn if key in labels]


def training_targets(study: StudyFolder, labels: Sequence[Label]) -> list[float | None]:
    """The target of each label, higher is better; None for a failed one."""
    target = study.config.ranker.target
    return [None if label.failure else target.evaluate(label) for label in labels]
