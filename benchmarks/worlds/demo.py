"""Measure what the demo reads and builds: assets/worlds/labels/fill-16-demo.jsonl.

    python -m benchmarks.worlds.demo FOLDER      # half an hour on 2 cores; killed, it goes on
    python -m benchmarks.worlds.demo FOLDER --latency      # every time once more, at rest

First the members that a study samples by default. Then the demo's search is run on them and on a
new probe; its designs and the teacher are measured too, those that are compared under three label
seeds, with blocks of scenes, so that the demo's verdicts are paired. Labels that the world's table
has already are taken from there. Times that were taken beside other work mean nothing; `--latency`
replaces them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.worlds.labelling import Group, label_groups
from benchmarks.worlds.studies import SEEDS, TABLES, import_tables, list_members
from sdsearch import create_study
from sdsearch.assets import TINY_DESIGNS, TINY_TABLE
from sdsearch.labels import read_label_table, write_label_table
from sdsearch.pipelines import open_pipeline
from sdsearch.unet import UNPRUNED
from sdsearch_eval.data import load_samples
from sdsearch_eval.models import load_teacher
from sdsearch_eval.sampling import measure_latency, prepare_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

ASSETS = TABLES.parents[1]
TABLE = ASSETS / TINY_DESIGNS
BUDGET = {"macs": {"share": 0.60}}
"""That of scripts/demo."""
REPEATED = ("autobuild", "exhaustive", "one-shot")
"""What is measured under all label seeds; the other rules are far off under the first."""
WORKERS = 2


def main() -> None:
    """Sample, measure, build, measure, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency", action="store_true", help="only the times, once more")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    study = create_study(folder / "search", budget=BUDGET)
    if asked.latency:
        remeasure_latency(study.folder)
        return
    study.probe()
    sampled = study.sample().architectures
    label_more(study.folder, list(sampled))
    built: dict[str, list[Architecture]] = {}
    for design in study.build():
        built.setdefault(design.record.method, []).append(design.record.architecture)
    designs = {arch.key: arch for archs in built.values() for arch in archs}
    print(f"{len(sampled)} sampled, {len(designs)} designs", flush=True)
    # Apart, for the search itself is to know nothing of what it built.
    measured = create_study(folder / "designs").folder
    list_members(measured, [UNPRUNED, *designs.values()])
    label_more(measured, list(designs))
    repeated = {UNPRUNED.key, *(arch.key for name in REPEATED for arch in built[name])}
    for seed in SEEDS[1:]:
        label_more(measured, sorted(repeated), seed)
    wanted = {UNPRUNED.key, *sampled, *designs}
    every = [*measured.labels.read_all(), *study.folder.labels.read_all()]
    write_table(one for one in every if one.arch_key in wanted)


def label_more(study: StudyFolder, keys: list[str], seed: int = SEEDS[0]) -> None:
    """Measure what no table has."""
    import_tables(study, [TABLE, ASSETS / TINY_TABLE])
    label_groups([Group.of("demo", study, seed, keys)], WORKERS, seconds=1e9)


def write_table(labels: Iterable[Label]) -> None:
    """The labels, each once, and how many they are."""
    found = {one.key: one for one in labels}
    write_label_table(TABLE, found.values())
    print(f"{len(found)} labels in {TABLE.name}")


def remeasure_latency(study: StudyFolder) -> None:
    """Replace `latency_ms` of all labels: the one of a label was taken beside another worker."""
    protocol = study.config.protocol
    torch.set_num_threads(protocol.threads)
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    inputs = prepare_inputs(teacher, load_samples(protocol)[:1], 0)
    labels = read_label_table(TABLE)
    archs = {one.arch_key: one.architecture for one in labels}
    times = {key: measure_latency(teacher.student(arch), inputs) for key, arch in archs.items()}
    write_table(
        one.model_copy(update={"values": {**one.values, "latency_ms": times[one.arch_key]}})
        for one in labels
    )


if __name__ == "__main__":
    main()
