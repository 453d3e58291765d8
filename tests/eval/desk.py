"""Labels and other jobs of the harness in this process, as its command and its worker ask them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.labels.label import LabelKey
from sdsearch.study.requests import ServeRequest
from sdsearch_eval import __main__ as harness
from sdsearch_eval.jobs.serve import open_desk
from sdsearch_eval.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.model import FrozenModel
    from sdsearch.study.folder import StudyFolder


def label_all(study: StudyFolder, *only: str) -> None:
    """Publish a label of every listed architecture, or of some, that has none yet; then finish."""
    desk = open_desk(ServeRequest(study=study.root, seed=study.config.seed), World())
    for key in only or desk.listed:
        if LabelKey(key, study.series) not in study.labels:
            label = desk.label(key)
            assert label is not None
            study.labels.publish(label)
    desk.finish()


def ask(request: FrozenModel, folder: Path) -> int:
    """Hand a request to the harness's command; its exit code."""
    file = folder / "request.json"
    file.write_text(request.model_dump_json(), encoding="utf-8")
    return harness.main([str(file)])
