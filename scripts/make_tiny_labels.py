"""Measure the labels that ship with the tiny Stable Diffusion: assets/tiny-labels.jsonl.

    python scripts/make_tiny_labels.py

The named members and 68 uniformly sampled ones under the default protocol; the named ones and the
first 16 sampled ones again under two further label seeds, which shows the noise floor. About 30
minutes on 2 cores. Every label is one file in --work, so a killed run goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean

from sdsearch.journey import sample
from sdsearch.labels import read_labels, write_table
from sdsearch.outcome import noise_floor
from sdsearch.study import init_study
from sdsearch.target import Target
from sdsearch_eval.work import label_study

REPEATED, SEEDS = 16, (1, 2)


def main() -> None:
    """Label, then write the table and print what it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/tiny-labels"))
    parser.add_argument("--out", type=Path, default=Path("assets/tiny-labels.jsonl"))
    options = parser.parse_args()
    study = init_study(options.work)
    rows = sample(study)
    label_study(options.work)
    named = [row["arch_key"] for row in rows if row["origin"].startswith("member:")]
    sampled = [row["arch_key"] for row in rows if not row["origin"].startswith("member:")]
    for seed in SEEDS:
        label_study(options.work, seed, [*named, *sampled[:REPEATED]])
    labels = read_labels(study, study.config.protocol.key)
    write_table(options.out, labels)
    evaluated = [label for label in labels if label.arch_key in sampled and label.seed == 0]
    floor = noise_floor(labels, evaluated, "fd_efflite0", Target(study.config.ranker.target))
    seconds = fmean(sum(label.provenance["seconds"].values()) for label in labels)
    print(f"{len(labels)} labels in {options.out}, {seconds:.1f} s each; noise floor: {floor}")


if __name__ == "__main__":
    main()
