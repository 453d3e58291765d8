"""Hold a study against the demo as it was before the modules moved into rooms.

python scripts/check_demo.py STUDY

The demo of that time knew no probe and scored options by `graph`: tests/stages/test_demo.py makes
such a study. Designs must be the same architectures, label values equal, the designs' scores and
held-out rank correlations within 1e-6. Processors round otherwise, which training carries to the
second digit: there is a reference for each kind on which the commit before the move (482edba) was
run, and one of them must be met. Keys and intervals are left out: how they are computed may change.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from sdsearch.keys import canonical_json
from sdsearch.study import StudyFolder, read_designs, read_study

REFERENCES = Path(__file__).resolve().parents[1] / "tests" / "golden"
TOLERANCE = 1e-6


def find_differences(study: StudyFolder) -> list[str]:
    """What is not as in the nearest reference, in words; nothing where the demo is the same."""
    references = [
        json.loads(file.read_text(encoding="utf-8")) for file in REFERENCES.glob("demo*.json")
    ]
    found = describe_search(study)
    return min(
        (
            [said for name in found for said in differences(name, found[name], wanted[name])]
            for wanted in references
        ),
        key=len,
    )


def describe_search(study: StudyFolder) -> dict[str, Any]:
    """What a reference holds of a study."""
    designs = {
        design.name: {
            "arch_key": design.arch_key,
            "score": design.score,
            "target": design.predicted.target,
        }
        for design in read_designs(study)
    }
    report = json.loads((study.ranker_dir / "ranker.json").read_text(encoding="utf-8"))["report"]
    return {
        "labels": len(study.labels.read_all()),
        "label_values_sha256": hash_values(study),
        "designs": designs,
        "srcc": {name: quality["srcc"] for name, quality in report["predictors"].items()},
    }


def hash_values(study: StudyFolder) -> str:
    """The SHA-256 of all label values, in the order of their keys."""
    labels = sorted(study.labels.read_all(), key=lambda label: label.key)
    rows = [
        [label.arch_key, label.protocol_key, label.seed, label.model_dump(mode="json")["values"]]
        for label in labels
    ]
    return hashlib.sha256(canonical_json(rows).encode()).hexdigest()


def differences(where: str, found: Any, wanted: Any) -> list[str]:
    """Where two JSON values differ, numbers by more than the tolerance."""
    if isinstance(wanted, dict) and isinstance(found, dict) and wanted.keys() == found.keys():
        return [x for key in wanted for x in differences(f"{where}.{key}", found[key], wanted[key])]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [x for i, (a, b) in pairs for x in differences(f"{where}[{i}]", a, b)]
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        same = abs(found - wanted) <= TOLERANCE
    else:
        same = found == wanted
    return [] if same else [f"{where} is {found}, but was {wanted}"]


if __name__ == "__main__":
    found = find_differences(read_study(sys.argv[1]))
    print("\n".join(found) or "the search is the same as before the move")
    sys.exit(bool(found))
