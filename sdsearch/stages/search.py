"""Searching: fit the predictor, score the space, build designs; each skips what is current."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.console import working
from sdsearch.design.builder import build_designs
from sdsearch.design.designs import Design, DesignFile
from sdsearch.design.scores import Scores, SpaceScores
from sdsearch.files import write_atomic
from sdsearch.labels.store import read_labels
from sdsearch.labels.target import Target
from sdsearch.report.outcome import read_origins
from sdsearch.study.folder import load_latency_table, load_space
from sdsearch.study.records import is_current, outputs_of, record_done

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from sdsearch.labels.label import Label
    from sdsearch.ranker.fit import FitReport
    from sdsearch.space.budget import Budget
    from sdsearch.study.folder import StudyFolder

PAPER = "autobuild-paper"


def training_labels(study: StudyFolder) -> list[Label]:
    """Return the labels to learn from: those of the sample, under this protocol and seed."""
    sampled = [key for key, origin in read_origins(study).items() if origin[:7] != "member:"]
    labels = read_labels(study, study.config.protocol.key)
    by_key = {label.arch_key: label for label in labels if label.seed == study.config.seed}
    return [by_key[key] for key in sampled if key in by_key]


def training_targets(study: StudyFolder, labels: Sequence[Label]) -> list[float | None]:
    """Return the target of each label, higher is better; None for a failed one."""
    target = Target(study.config.ranker.target)
    return [target.evaluate(label) if label.status == "ok" else None for label in labels]


def fit(study: StudyFolder) -> FitReport:
    """Fit the predictor on the labels of the sample, into ranker/; return how well it ranks."""
    labels, settings = training_labels(study), study.config.ranker
    target, y = Target(settings.target), training_targets(study, labels)
    inputs = {
        "labels": [[label.arch_key, value] for label, value in zip(labels, y, strict=True)],
        "space": study.config.space.model_dump(mode="json"),
        "teacher": study.config.teacher.pipeline,
        "ranker": settings.model_dump(mode="json", exclude={"rule"}),
    }
    from sdsearch.ranker.file import load_ranker, save_ranker
    from sdsearch.ranker.fit import RankerConfig, fit_ranker

    if not is_current(study, "fit", inputs):
        rng = np.random.default_rng(study.config.space.seed)
        config = RankerConfig(kind=settings.kind)
        with working(f"fitting the predictor on {len(labels)} labels"):
            architectures = [label.architecture for label in labels]
            errors = [target.standard_error(label) for label in labels]
            fitted = fit_ranker(load_space(study), architectures, y, config, rng, errors)
        save_ranker(fitted, study.ranker_dir)
        files = [study.ranker_dir / "ranker.safetensors", study.ranker_dir / "ranker.json"]
        record_done(study, "fit", inputs, files)
    return load_ranker(study.ranker_dir).report


def score(study: StudyFolder) -> Scores:
    """Predict every member of the space and score features, blocks and options: scores.json."""
    fit(study)
    settings = study.config
    inputs = {
        "fit": outputs_of(study, "fit"),
        "methods": [name for name in ("ridge", PAPER) if name in settings.build.methods],
        "rule": settings.ranker.rule,
    }
    if not is_current(study, "score", inputs):
        from sdsearch.ranker.file import load_ranker
        from sdsearch.ranker.scoring import score_space, score_units

        space, fitted = load_space(study), load_ranker(study.ranker_dir)
        with working(f"scoring all {len(space):,} architectures"):
            scored = score_space(fitted, space)
            scores = score_units(fitted, space, scored, settings.ranker.rule)
        outputs = [_save_predictions(study, "space", scored)]
        if "ridge" in study.config.build.methods:
            ridge = score_space(fitted, space, kind="ridge")
            outputs.append(_save_predictions(study, "ridge", ridge))
        if PAPER in settings.build.methods:
            with working("fitting the published method"):
                outputs.append(_score_as_published(study))
        write_atomic(study.scores_file, scores.model_dump_json(indent=2) + "\n")
        record_done(study, "score", inputs, [study.scores_file, *outputs])
    return Scores.model_validate_json(study.scores_file.read_text(encoding="utf-8"))


def build(study: StudyFolder) -> tuple[Design, ...]:
    """Build the best designs by each method of the study under its budget: designs.json."""
    scores, settings, table = score(study), study.config.build, load_latency_table(study)
    inputs = {
        "score": outputs_of(study, "score"),
        "build": settings.model_dump(mode="json"),
        "latency_table": table and table.model_dump(mode="json"),
        "protocol": study.config.protocol.key,
        "target": study.config.ranker.target,
    }
    if not is_current(study, "build", inputs):
        ridge = _load_predictions(study, "ridge") if "ridge" in settings.methods else None
        paper = _load_published(study) if PAPER in settings.methods else None
        with working("building designs"):
            designs = build_designs(
                load_space(study),
                settings.methods,
                settings.budget,
                scores,
                _load_predictions(study, "space"),
                np.random.default_rng(study.config.space.seed),
                top=settings.top,
                ridge=ridge,
                paper=paper,
                table=table,
                least_difference=settings.least_difference,
            )
        file = DesignFile(
            protocol_key=study.config.protocol.key,
            target=study.config.ranker.target,
            budget=settings.budget,
            designs=tuple(designs),
        )
        write_atomic(study.designs_file, file.model_dump_json(indent=2) + "\n")
        record_done(study, "build", inputs, [study.designs_file])
    return read_designs(study)


def design_within(study: StudyFolder, budget: Budget) -> Design:
    """The best design by unit scores under a budget of the moment; the study keeps its own.

    Raises:
        InputError: no member satisfies the budget.
    """
    scores = score(study)
    rng = np.random.default_rng(study.config.space.seed)
    scored, table = _load_predictions(study, "space"), load_latency_table(study)
    (design,) = build_designs(
        load_space(study), ["autobuild"], budget, scores, scored, rng, top=1, table=table
    )
    return design.model_copy(update={"name": f"own-{design.arch_key}"})


def read_designs(study: StudyFolder) -> tuple[Design, ...]:
    """Return the built designs; none before `build`."""
    if not study.designs_file.is_file():
        return ()
    text = study.designs_file.read_text(encoding="utf-8")
    return DesignFile.model_validate_json(text).designs


def _score_as_published(study: StudyFolder) -> Path:
    """Write the option scores of AutoBuild as published, a failed label counting as the worst."""
    from sdsearch.ranker.published import fit_paper, score_options

    labels = training_labels(study)
    y = training_targets(study, labels)
    worst = min(value for value in y if value is not None)
    fitted = fit_paper(
        [label.architecture for label in labels],
        np.array([worst if value is None else value for value in y]),
        np.random.default_rng(study.config.space.seed),
    )
    scores = [found.tolist() for found in score_options(fitted, load_space(study))]
    file = study.ranker_dir / "published.json"
    write_atomic(file, json.dumps(scores) + "\n")
    return file


def _load_published(study: StudyFolder) -> list[npt.NDArray[np.float64]]:
    text = (study.ranker_dir / "published.json").read_text(encoding="utf-8")
    return [np.array(scores) for scores in json.loads(text)]


def _save_predictions(study: StudyFolder, name: str, scored: SpaceScores) -> Path:
    from safetensors.numpy import save

    arrays = {"predicted": scored.predicted, "spread": scored.spread}
    marginals = {f"marginals.{axis}": array for axis, array in enumerate(scored.marginals)}
    file = study.ranker_dir / f"{name}.safetensors"
    data = {
        key: np.ascontiguousarray(array) for key, array in (*arrays.items(), *marginals.items())
    }
    write_atomic(file, save(data))
    return file


def _load_predictions(study: StudyFolder, name: str) -> SpaceScores:
    from safetensors.numpy import load_file

    arrays = load_file(study.ranker_dir / f"{name}.safetensors")
    marginals = sorted(key for key in arrays if key.startswith("marginals."))
    return SpaceScores(
        arrays["predicted"], arrays["spread"], tuple(arrays[key] for key in marginals)
    )
