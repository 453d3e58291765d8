"""Hold a demo's study against the reference that was made before the modules moved into rooms.

python scripts/check_demo.py .demo/study [TOLERANCE]

Designs must be the same architectures and label values equal, everywhere. Scores and held-out rank
correlations are within 1e-6 on the kind of processor that made the reference; another one rounds
otherwise, which training carries to the second digit, in the commit before the move (482edba) bit
for bit as today. Keys and intervals are left out: how they are computed may change.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sdsearch.keys import canonical_json
from sdsearch.study import StudyFolder, read_designs, read_study

REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "golden" / "demo.json"
TOLERANCE, ELSEWHERE = 1e-6, 0.05
"""Of scores and correlations, on the reference's kind of processor and on any."""


def find_differences(study: StudyFolder, tolerance: float = TOLERANCE) -> list[str]:
    """What is not as in the reference, in words; nothing where the demo is the same."""
    wanted = json.loads(REFERENCE.read_text(encoding="utf-8"))
    designs = {
        design.name: {
            "arch_key": design.arch_key,
            "score": design.score,
            "target": design.predicted.target,
        }
        for design in read_designs(study)
    }
    scores = json.loads(study.scores_file.read_text(encoding="utf-8"))
    report = json.loads((study.ranker_dir / "ranker.json").read_text(encoding="utf-8"))["report"]
    found = {
        "labels": len(study.labels.read_all()),
        "label_values_sha256": hash_values(study),
        "designs": designs,
        "srcc": {name: quality["srcc"] for name, quality in report["predictors"].items()},
        "scores": {name: scores[name] for name in wanted["scores"]},
    }
    return [
        said for name in found for said in differences(name, found[name], wanted[name], tolerance)
    ]


def hash_values(study: StudyFolder) -> str:
    """The SHA-256 of all label values, in the order of their keys."""
    labels = sorted(study.labels.read_all(), key=lambda label: label.key)
    rows = [
        [label.arch_key, label.protocol_key, label.seed, label.model_dump(mode="json")["values"]]
        for label in labels
    ]
    return hashlib.sha256(canonical_json(rows).encode()).hexdigest()


def differences(where: str, found: Any, wanted: Any, tolerance: float) -> list[str]:
    """Where two JSON values differ, numbers by more than the tolerance."""
    if isinstance(wanted, dict) and isinstance(found, dict) and wanted.keys() == found.keys():
        return [
            said
            for key in wanted
            for said in differences(f"{where}.{key}", found[key], wanted[key], tolerance)
        ]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [x for i, (a, b) in pairs for x in differences(f"{where}[{i}]", a, b, tolerance)]
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        same = abs(found - wanted) <= tolerance
    else:
        same = found == wanted
    return [] if same else [f"{where} is {found}, but was {wanted}"]


if __name__ == "__main__":
    found = find_differences(read_study(sys.argv[1]), *map(float, sys.argv[2:3]))
    print("\n".join(found) or "the demo is the same as before the move")
    sys.exit(bool(found))
