"""Write the JSON schemas of what commands print with `--json`: fit, score, build, bench, label.

Run `python scripts/make_schemas.py` whenever one of these changes; a test asks for it.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import TypeAdapter

from sdsearch.designs import Design
from sdsearch.files import write_atomic
from sdsearch.label_status import LabelStatus
from sdsearch.replay_runs import ReplaySummary
from sdsearch.scores import Scores
from sdsearch.training import FitReport

FOLDER = Path(__file__).parents[1] / "sdsearch" / "schemas"


def schemas() -> dict[str, str]:
    """File name -> its text, for every command."""
    printed = {
        "fit": FitReport,
        "score": Scores,
        "build": list[Design],
        "bench": ReplaySummary,
        "label-status": list[LabelStatus],
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
