"""Measure architectures of the tiny table under cheaper protocols: benchmarks/tiny-rungs.jsonl.

    python scripts/make_tiny_rungs.py      # half an hour on 2 cores; killed anywhere, it resumes

Two rungs: a quarter of the samples and a fifth of the recovery steps for all that were drawn
uniformly or stratified, then a half of both for the best 40 % of them by the first. What
benchmarks/multi_fidelity.py needs is kept of each label: its identity, the value and the seconds.
"""

from __future__ import annotations

import argparse
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from make_tiny_labels import TABLE, list_architectures
from tiny_groups import group_keys

from sdsearch.labels import read_labels, read_table, write_table
from sdsearch.protocol import Protocol, Rung
from sdsearch.space import search_space
from sdsearch.study import init_study
from sdsearch.target import Target
from sdsearch_eval.labelling import label_study

if TYPE_CHECKING:
    from sdsearch.labels import Label
    from sdsearch.study import Study

RUNGS = (Rung(samples=0.25, recovery=0.2), Rung(samples=0.5, recovery=0.5))
NEXT = 0.4
OUT = Path("benchmarks/tiny-rungs.jsonl")
COLUMN = "fd_efflite0"


def main() -> None:
    """Label rung by rung and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/rungs"))
    work = parser.parse_args().work
    found: list[Label] = []
    groups = group_keys(search_space("tiny"))
    drawn = groups["uniform"] | groups["stratified"]
    full = [x for x in read_table(TABLE) if (x.protocol_key, x.seed) == (Protocol().key, 0)]
    before = [label for label in full if label.status == "ok" and label.arch_key in drawn]
    for number, rung in enumerate(RUNGS):
        study = open_rung(work / f"rung{number}", rung)
        target = Target(study.config.ranker.target)
        best = sorted(before, key=target.evaluate, reverse=True)
        best = best[: ceil(len(best) * (NEXT if number else 1))]
        list_architectures(study, [label.architecture for label in best], "uniform")
        label_study(study.root)
        labels = read_labels(study, study.config.protocol.key)
        before = [label for label in labels if label.status == "ok"]
        found += map(shorten, labels)
        write_table(OUT, found)
        print(f"rung {number}: {len(labels)} labels in {OUT}", flush=True)


def open_rung(folder: Path, rung: Rung) -> Study:
    """A study under a rung's protocol."""
    protocol = rung.cheapen(Protocol())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(
        f"[protocol]\nsamples = {protocol.samples}\n"
        f"recovery = {{ steps = {protocol.recovery.steps} }}\n",
        encoding="utf-8",
    )
    return init_study(folder)


def shorten(label: Label) -> Label:
    """What the benchmark needs of it."""
    kept = {k: label.provenance[k] for k in ("teacher_sha256", "seconds")}
    values = {k: v for k, v in label.values.items() if k == COLUMN}
    return label.model_copy(update={"values": values, "provenance": kept})


if __name__ == "__main__":
    main()
