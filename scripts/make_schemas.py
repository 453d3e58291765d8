"""Write the JSON schemas of what commands print with `--json`.

Run `python scripts/make_schemas.py` whenever one of these changes; a test asks for it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sdsearch.api import (
    ExportResult,
    FileReport,
    FolderResult,
    InitResult,
    LatencyReport,
    PictureResult,
    ReportResult,
    RunResult,
    SampleResult,
    SheetResult,
)
from sdsearch.check import CheckReport
from sdsearch.design import Design, Probe, Scores
from sdsearch.files import write_atomic
from sdsearch.planning import StudyPlan
from sdsearch.ranker import FitReport
from sdsearch.replay import ReplaySummary
from sdsearch.space import SpaceSummary
from sdsearch.workers import LabelStatus

FOLDER = Path(__file__).parents[1] / "sdsearch" / "cli" / "schemas"


def schemas() -> dict[str, str]:
    """File name -> its text, for every command."""
    printed: dict[str, Any] = {
        "init": InitResult,
        "run": RunResult,
        "tune": FolderResult,
        "sample": SampleResult,
        "recover": FolderResult,
        "export": ExportResult,
        "report": ReportResult,
        "compare": PictureResult,
        "probe": Probe,
        "fit": FitReport,
        "score": Scores,
        "build": list[Design],
        "bench": ReplaySummary,
        "label-status": list[LabelStatus],
        "space": SpaceSummary,
        "latency": LatencyReport,
        "check": CheckReport | FileReport | SheetResult,
        "plan": StudyPlan,
    }
    return {
        f"{name}.schema.json": json.dumps(
            TypeAdapter(kind).json_schema(mode="validation"), indent=1, sort_keys=True
        )
        + "\n"
        for name, kind in printed.items()
    }


if __name__ == "__main__":
    for name, text in schemas().items():
        write_atomic(FOLDER / name, text)
        print(FOLDER / name)
