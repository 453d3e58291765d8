"""Building: the best designs of every method under the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.console import working
from sdsearch.design import DesignFile, SpaceScores, build_designs
from sdsearch.files import write_atomic
from sdsearch.planning import check_study
from sdsearch.space import RESOURCES
from sdsearch.stages.score import BASELINE_METHODS, PUBLISHED, load_published_scores, score_study
from sdsearch.study import (
    is_current,
    load_meter,
    outputs_of,
    read_designs,
    record_done,
)

if TYPE_CHECKING:
    from sdsearch.design import Design
    from sdsearch.space import Budget, Meter
    from sdsearch.study import StudyFolder


def build_study(study: StudyFolder) -> tuple[Design, ...]:
    """Build the best designs by each method of the study under its budget: designs.json."""
    check_study(study)
    scores, settings, meter = score_study(study), study.config.build, load_meter(study)
    methods = settings.methods_for(probed=study.probe_file.is_file())
    inputs = _inputs(study, meter)
    if not is_current(study, "build", inputs):
        predictions = study.predictions_file
        with working("building designs"):
            designs = build_designs(
                meter,
                methods,
                settings.budget,
                scores,
                SpaceScores.load(predictions("space")),
                np.random.default_rng(study.config.space.seed),
                top=settings.top,
                baselines={
                    name: SpaceScores.load(predictions(name))
                    for name in BASELINE_METHODS
                    if name in methods
                },
                paper=load_published_scores(study) if PUBLISHED in methods else None,
                least_difference=settings.least_difference,
            )
        file = DesignFile(
            protocol_key=study.protocol_key,
            target=study.config.ranker.target.expression,
            budget=settings.budget,
            designs=tuple(designs),
        )
        write_atomic(study.designs_file, file.to_json(indent=2) + "\n")
        record_done(study, "build", inputs, [study.designs_file])
    return read_designs(study)


def is_built(study: StudyFolder) -> bool:
    """Whether the designs of scores that are current are there."""
    return is_current(study, "build", _inputs(study, load_meter(study)))


def _inputs(study: StudyFolder, meter: Meter) -> dict[str, Any]:
    """All that designs depend on; the study is scored."""
    settings = study.config.build
    # Studies of before there were loaders are current.
    unsaid = set() if settings.loads_in else {"loads_in"}
    return {
        "score": outputs_of(study, "score"),
        "build": {
            **settings.model_dump(mode="json", exclude=unsaid),
            "methods": list(settings.methods_for(probed=study.probe_file.is_file())),
        },
        "latency_table": meter.table and meter.table.model_dump(mode="json"),
        "protocol": study.protocol_key,
        "target": study.config.ranker.target.expression,
        "resources": RESOURCES,
    }


def build_within(study: StudyFolder, budget: Budget) -> Design:
    """The best design by unit scores under a budget of the moment; the study keeps its own.

    Raises:
        InputError: no member satisfies the budget.
    """
    (design,) = build_designs(
        load_meter(study),
        ["autobuild"],
        budget,
        score_study(study),
        SpaceScores.load(study.predictions_file("space")),
        np.random.default_rng(study.config.space.seed),
        top=1,
    )
    return design.model_copy(update={"name": f"own-{design.arch_key}"})
