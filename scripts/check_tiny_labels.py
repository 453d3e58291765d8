"""Measure five labels of assets/tiny-labels.jsonl once more and compare.

    python scripts/check_tiny_labels.py

The five are drawn at random over the table's range of values. Each must agree within three
deviations of the noise at its value, the spread over label seeds; on the same kind of machine and
software it is the same value. About 3 minutes on 2 cores; exit code 1 where one does not agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from make_tiny_labels import TABLE, list_architectures

from sdsearch.api import create_study
from sdsearch.labels import read_label_table
from sdsearch.report import measure_noise
from sdsearch.stages import label_study

COUNT, DEVIATIONS = 5, 3.0


def main() -> int:
    """Measure, print both values side by side, say whether they agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--seed", type=int, default=0, help="which five are drawn")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with TemporaryDirectory() as folder:
        study = create_study(Path(folder) / "study").folder
        column, key = study.config.protocol.column("fd"), study.protocol_key
        labels = [label for label in read_label_table(options.table) if label.protocol_key == key]
        measured = [x for x in labels if x.seed == 0 and x.status == "ok"]
        noise = measure_noise(labels, measured, column, study.config.ranker.target)
        if noise is None or noise.of_value.source != "seeds":
            print(f"{options.table} must hold labels of two seeds, but has none", file=sys.stderr)
            return 2
        measured.sort(key=lambda label: label.scalar(column))
        parts = np.array_split(np.arange(len(measured)), COUNT)
        drawn = [measured[int(rng.choice(part))] for part in parts]
        list_architectures(study, [label.architecture for label in drawn], "check")
        label_study(study)
        again = {label.arch_key: label.scalar(column) for label in study.labels.read_all(key)}
    print(noise.lines()[0])
    agreed = True
    for label in drawn:
        old, new = label.scalar(column), again[label.arch_key]
        agrees = abs(new - old) <= DEVIATIONS * noise.of_value.at(old)
        agreed &= agrees
        said = "agrees" if agrees else "DOES NOT AGREE"
        print(f"{label.arch_key}: {old:.2f} in the table, {new:.2f} now: {said}")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
