"""Measure architectures of the tiny table under a cheaper protocol: benchmarks/tiny-rung.jsonl.

    python scripts/make_tiny_rung.py      # a quarter of an hour on 2 cores; killed, it resumes

All that were drawn uniformly or stratified, under the default rung: a quarter of the samples and a
fifth of the recovery steps. What benchmarks/multi_fidelity.py needs is kept of each label: its
identity, the value and the seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from make_tiny_labels import TABLE, list_architectures
from tiny_groups import group_keys

from sdsearch.labels import (
    Protocol,
    ResolvedProtocol,
    Rung,
    read_label_table,
    write_label_table,
)
from sdsearch.space import search_space
from sdsearch.stages import label_study
from sdsearch.study import read_study

if TYPE_CHECKING:
    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder

OUT = Path("benchmarks/tiny-rung.jsonl")
COLUMN = "fd_efflite0"


def main() -> None:
    """Label and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/rung"))
    groups = group_keys(search_space("tiny"))
    drawn = groups["uniform"] | groups["stratified"]
    key = ResolvedProtocol(protocol=Protocol()).key
    study = open_rung(parser.parse_args().work)
    chosen = [
        label.architecture
        for label in read_label_table(TABLE)
        if (label.protocol_key, label.seed, label.status) == (key, 0, "ok")
        and label.arch_key in drawn
    ]
    list_architectures(study, chosen, "uniform")
    label_study(study)
    labels = study.labels.read_all(study.protocol_key)
    write_label_table(OUT, map(shorten, labels))
    print(f"{len(labels)} labels in {OUT}")


def open_rung(folder: Path) -> StudyFolder:
    """A study under the rung's protocol."""
    protocol = Rung().cheapen(Protocol())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(
        f"[protocol]\nsamples = {protocol.samples}\n"
        f"recovery = {{ steps = {protocol.recovery.steps} }}\n",
        encoding="utf-8",
    )
    return read_study(folder)


def shorten(label: Label) -> Label:
    """What the benchmark needs of it."""
    kept = {k: label.provenance[k] for k in ("teacher_sha256", "seconds")}
    values = {k: v for k, v in label.values.items() if k == COLUMN}
    return label.model_copy(update={"values": values, "provenance": kept})


if __name__ == "__main__":
    main()
