"""Fitting: the predictor learns from the labels of the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.console import working
from sdsearch.errors import InputError
from sdsearch.study import is_current, load_space, name_teacher, read_sample, record_done

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.labels import Label
    from sdsearch.ranker import FitReport
    from sdsearch.study import StudyFolder


def fit_study(study: StudyFolder) -> FitReport:
    """Fit the predictor on the labels of the sample, into ranker/; return how well it ranks.

    A fit is current as long as labels, their standard errors (which weigh them), the space, the
    teacher's content and the settings stay.

    Raises:
        InputError: nothing is measured yet.
    """
    labels, settings = training_labels(study), study.config.ranker
    if all(label.failure for label in labels):
        raise InputError(_why_no_fit(study, len(labels)))
    y = training_targets(study, labels)
    errors = [settings.target.standard_error(label) for label in labels]
    inputs = fit_inputs(study, labels)
    from sdsearch.ranker import RankerConfig, fit_ranker, load_ranker, save_ranker

    if not is_current(study, "fit", inputs):
        rng = np.random.default_rng(study.config.space.seed)
        config = RankerConfig(kind=settings.kind)
        with working(f"fitting the predictor on {len(labels)} labels"):
            architectures = [label.architecture for label in labels]
            fitted = fit_ranker(load_space(study), architectures, y, config, rng, errors)
        save_ranker(fitted, study.ranker_dir)
        files = [study.ranker_dir / "ranker.safetensors", study.ranker_dir / "ranker.json"]
        record_done(study, "fit", inputs, files)
    return load_ranker(study.ranker_dir).report


def _why_no_fit(study: StudyFolder, failed: int) -> str:
    """What to do where no sampled architecture is measured."""
    drawn = len(read_sample(study).keys_from("sample", "proposal"))
    found = f"{failed} failed" if failed else "none has a label"
    tiny = study.config.teacher.pipeline == "tiny"
    other = ", or import the tiny model's own labels" if tiny else ""
    return (
        f"a fit needs measured architectures, but of {drawn} sampled ones {found}; run: sdsearch "
        f"label {study.root}{other}"
    )


def fit_inputs(study: StudyFolder, labels: Sequence[Label]) -> dict[str, Any]:
    """All that a fit depends on; the study is fitted again where any of it changes."""
    settings = study.config.ranker
    targets = training_targets(study, labels)
    errors = [settings.target.standard_error(label) for label in labels]
    keys = [label.arch_key for label in labels]
    return {
        "labels": [list(row) for row in zip(keys, targets, errors, strict=True)],
        "space": study.config.space.model_dump(mode="json"),
        "teacher": name_teacher(study),
        "ranker": settings.model_dump(mode="json", exclude={"rule"}),
    }


def training_labels(study: StudyFolder) -> list[Label]:
    """The labels to learn from: those of what was drawn or proposed, in the study's series."""
    drawn = read_sample(study).keys_from("sample", "proposal")
    labels = study.labels.read_series(study.series)
    return [labels[key] for key in drawn if key in labels]


def training_targets(study: StudyFolder, labels: Sequence[Label]) -> list[float | None]:
    """The target of each label, higher is better; None for a failed one."""
    target = study.config.ranker.target
    return [None if label.failure else target.evaluate(label) for label in labels]
