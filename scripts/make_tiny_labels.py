"""Measure the labels that ship with the tiny Stable Diffusion: assets/tiny-labels.jsonl.

    python scripts/make_tiny_labels.py [--part sampled ...]

Five parts, one after another, all under the default protocol:
  sampled     the named members and 68 uniformly sampled ones (seed 0, the paper's setting)
  repeated    the named members and the first 20 sampled ones under two further label seeds
  stratified  160 members in which every option of a level is as frequent as any other
  neighbours  five random neighbours of each of the four best so far, and of the four best within
              45 % of the parameters, those within 45 % themselves
  latency     the latency of every member of the table once more, which needs a machine at rest
What searches of before proposed, and is in the table, stays there. About 15 seconds a label on 2
cores. Every label is one file in --work, so a killed run goes on where it was; every finished part
is added to the table. Parts in --work folders of their own may be measured side by side.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock
from tiny_groups import draw_stratified

from sdsearch.api import create_study
from sdsearch.labels import Protocol, read_label_table, write_label_table
from sdsearch.pipelines import open_pipeline
from sdsearch.report import measure_noise
from sdsearch.stages import label_study, sample_study
from sdsearch.study import Listing, Origin, load_space, write_sample
from sdsearch.unet import UNPRUNED, count_params
from sdsearch_eval.data import load_samples
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import measure_latency, prepare_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

PARTS = ("sampled", "repeated", "stratified", "neighbours", "latency")
REPEATED, SEEDS = 20, (1, 2)
BEST, NEIGHBOURS, SMALL = 4, 5, 0.45
TABLE = Path("assets/tiny-labels.jsonl")


def main() -> None:
    """Label part by part, add each to the table and print what it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=Path("work/tiny-labels"))
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; repeatable")
    options = parser.parse_args()
    for part in options.part or PARTS:
        if part == "latency":
            remeasure_latency(options.out)
            continue
        study = measure_part(part, options.work, options.out)
        add_to_table(options.out, study.labels.read_all(study.protocol_key))
        print(f"{part}: {summarize(options.out, study)}", flush=True)


def measure_part(part: str, work: Path, table: Path) -> StudyFolder:
    """Measure what the part still lacks; the study that holds its labels."""
    study = create_study(work / ("sampled" if part == "repeated" else part)).folder
    if part in ("sampled", "repeated"):
        listing = sample_study(study)
        named, sampled = listing.keys_from("member"), listing.keys_from("sample")
        if part == "sampled":
            label_study(study)
        for seed in SEEDS if part == "repeated" else ():
            label_study(study, seed=seed, only=[*named, *sampled[:REPEATED]])
        return study
    if part == "stratified":
        list_architectures(study, draw_stratified(load_space(study)), part)
    elif not study.architectures_file.is_file():  # the best change as the table grows
        list_architectures(study, neighbours_of_best(study, table), part)
    label_study(study)
    return study


def neighbours_of_best(study: StudyFolder, table: Path) -> list[Architecture]:
    """Unmeasured architectures that differ from one of the best in the option of one unit."""
    target, key = study.config.ranker.target, study.protocol_key
    space, rng = load_space(study), np.random.default_rng(2)
    limit = SMALL * count_params(UNPRUNED, space.backbone)
    found = [
        x for x in read_label_table(table) if (x.protocol_key, x.seed, x.status) == (key, 0, "ok")
    ]
    best = sorted(found, key=target.evaluate, reverse=True)
    small = [label for label in best if label.scalar("params") <= limit]
    taken, chosen = {label.arch_key for label in found}, []
    for label, most in (*((x, np.inf) for x in best[:BEST]), *((x, limit) for x in small[:BEST])):
        around = space.neighbours(label.architecture)
        fresh = [
            arch
            for arch in (around[i] for i in rng.permutation(len(around)))
            if arch.key not in taken and count_params(arch, space.backbone) <= most
        ][:NEIGHBOURS]
        chosen += fresh
        taken |= {arch.key for arch in fresh}
    return chosen


def list_architectures(study: StudyFolder, archs: Iterable[Architecture], origin: str) -> None:
    """Write what a study has to measure."""
    drawn = Origin(kind="sample", name=origin)
    write_sample(study, Listing.of((arch, drawn) for arch in archs))


def add_to_table(table: Path, labels: Iterable[Label]) -> None:
    """Add labels to a table; of one identity and teacher the first stays, other teachers go."""
    labels = list(labels)
    with FileLock(f"{table}.lock"):
        teachers = {label.provenance.get("teacher_sha256") for label in labels}
        before = read_label_table(table) if table.is_file() else []
        kept = [label for label in before if label.provenance.get("teacher_sha256") in teachers]
        known = {label.key for label in kept}
        new = [label for label in labels if label.key not in known]
        write_label_table(table, [*kept, *new])
    Path(f"{table}.lock").unlink(missing_ok=True)


def remeasure_latency(table: Path) -> None:
    """Replace `latency_ms` of all labels: the one of a label was taken beside other labellers."""
    protocol = Protocol()
    torch.set_num_threads(protocol.threads)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    inputs = prepare_inputs(teacher, load_samples(protocol)[:1], 0)
    labels, found = read_label_table(table), {}
    for label in labels:
        if label.arch_key not in found:
            found[label.arch_key] = measure_latency(teacher.student(label.architecture), inputs)
    write_label_table(
        table,
        [
            label.model_copy(
                update={"values": {**label.values, "latency_ms": found[label.arch_key]}}
            )
            for label in labels
        ],
    )
    print(f"latency: {len(found)} architectures in {table}", flush=True)


def summarize(table: Path, study: StudyFolder) -> str:
    """How many labels the table holds and what their noise is."""
    labels = read_label_table(table)
    evaluated = [label for label in labels if label.seed == 0]
    noise = measure_noise(labels, evaluated, "fd_efflite0", study.config.ranker.target)
    said = "; ".join(noise.lines()) if noise else "no noise is known"
    distinct = len({label.arch_key for label in labels})
    return f"{len(labels)} labels of {distinct} architectures in {table}; {said}"


if __name__ == "__main__":
    main()
