"""Scoring: predict every member of the space, and say what blocks and options are worth."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from sdsearch.console import working
from sdsearch.design import Scores
from sdsearch.errors import InputError
from sdsearch.files import LARGEST_TEXT, parse_json, read_bytes, read_json_bytes, write_atomic
from sdsearch.stages.fit import fit_study, training_labels, training_targets
from sdsearch.study import is_current, load_space, outputs_of, record_done

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from sdsearch.ranker import FittedRanker
    from sdsearch.space import SearchSpace
    from sdsearch.study import StudyFolder

PUBLISHED = "autobuild-paper"
"""The method that builds by the scores of AutoBuild as published."""
_Baseline = Literal["ridge", "ridge-probe", "one-shot"]
BASELINE_METHODS: tuple[_Baseline, ...] = get_args(_Baseline)
"""The methods that build by the predictions of the predictor that they are named after."""
SCORED_APART = (*BASELINE_METHODS, PUBLISHED)


def score_study(study: StudyFolder) -> Scores:
    """Predict every member of the space and score blocks and options: scores.json."""
    fit_study(study)
    rule = study.config.ranker.rule
    methods = study.config.build.methods_for(probed=study.probe_file.is_file())
    inputs = _inputs(study)
    if not is_current(study, "score", inputs):
        from sdsearch.ranker import load_ranker, score_space, score_units

        space, fitted = load_space(study), load_ranker(study.ranker_dir)
        with working(f"scoring all {len(space):,} architectures"):
            scored = score_space(fitted, space)
            scores = score_units(fitted, space, scored, rule)
        outputs = [scored.save(study.predictions_file("space"))]
        _check_methods(methods, fitted)
        for name in BASELINE_METHODS:
            if name in methods:
                found = score_space(fitted, space, kind=name)
                outputs.append(found.save(study.predictions_file(name)))
        if PUBLISHED in methods:
            with working("fitting the published method"):
                outputs.append(_score_as_published(study, space))
        write_atomic(study.scores_file, scores.to_json(indent=2) + "\n")
        record_done(study, "score", inputs, [study.scores_file, *outputs])
    return Scores.model_validate_json(read_json_bytes(study.scores_file, LARGEST_TEXT))


def is_scored(study: StudyFolder) -> bool:
    """Whether the scores of a fit that is current are there."""
    return is_current(study, "score", _inputs(study))


def _inputs(study: StudyFolder) -> dict[str, Any]:
    """All that scores depend on; the study is fitted."""
    methods = study.config.build.methods_for(probed=study.probe_file.is_file())
    return {
        "fit": outputs_of(study, "fit"),
        "methods": [name for name in SCORED_APART if name in methods],
        "rule": study.config.ranker.rule,
        "schema": Scores.model_fields["schema_version"].default,
    }


def _check_methods(methods: Sequence[str], fitted: FittedRanker) -> None:
    """Refuse methods that learn from labels where there are none.

    Raises:
        InputError: there is such a method; which ones work is said.
    """
    learning = [name for name in methods if name in ("ridge", "ridge-probe", PUBLISHED)]
    if learning and not fitted.report.labels:
        raise InputError(
            f"{' and '.join(learning)} in [build] methods learn from labels, but there are none; "
            "run: sdsearch label STUDY, or build by one-shot, most-macs, most-params or random"
        )


def load_published_scores(study: StudyFolder) -> list[npt.NDArray[np.float64]]:
    """Per unit the scores of its options by AutoBuild as published, as scoring has written them."""
    file = _published_file(study)
    return [np.array(scores) for scores in parse_json(read_bytes(file), str(file))]


def _score_as_published(study: StudyFolder, space: SearchSpace) -> Path:
    """Write the option scores of AutoBuild as published, a failed label counting as the worst."""
    from sdsearch.ranker import fit_paper, score_options

    labels = training_labels(study)
    y = training_targets(study, labels)
    worst = min(value for value in y if value is not None)
    fitted = fit_paper(
        [label.architecture for label in labels],
        np.array([worst if value is None else value for value in y]),
        np.random.default_rng(study.config.space.seed),
    )
    scores = [found.tolist() for found in score_options(fitted, space)]
    file = _published_file(study)
    write_atomic(file, json.dumps(scores) + "\n", study.root)
    return file


def _published_file(study: StudyFolder) -> Path:
    return study.ranker_dir / "published.json"
