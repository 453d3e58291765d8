"""Measure what the demo builds, most of it under three label seeds: assets/tiny-designs.jsonl.

    python -m benchmarks.worlds.demo FOLDER      # half an hour on 2 cores; killed, it goes on

The demo's search is run on the shipped labels (assets/tiny-labels.jsonl) and a new probe; then its
designs and the teacher are measured by the same protocol, with blocks of scenes, so that the demo's
verdicts are paired. Labels that other tables have already are taken from there. Times that were
taken beside other work mean nothing; on a machine at rest they are measured once more by
`python scripts/make_tiny_labels.py --part latency --out assets/tiny-designs.jsonl`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.worlds.labelling import Group, label_groups
from benchmarks.worlds.studies import SEEDS, TABLES, WORLDS, import_tables, list_members
from sdsearch import create_study
from sdsearch.assets import TINY_DESIGNS, TINY_TABLE, asset_path
from sdsearch.labels import write_label_table
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from sdsearch.unet import Architecture

TABLE = TABLES.parents[1] / TINY_DESIGNS
BUDGET = {"macs": {"share": 0.60}}
"""That of scripts/demo."""
REPEATED = ("teacher", "autobuild", "exhaustive", "one-shot")
"""What is measured under all label seeds; the other rules are far off under the first."""


def main() -> None:
    """Build, measure, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    built = build_as_the_demo(folder / "search")
    designs = {arch.key: arch for archs in built.values() for arch in archs}
    repeated = {arch.key for name in REPEATED for arch in built[name]}
    print(f"{len(designs)} architectures", flush=True)
    world = WORLDS["tiny-sd"]
    study = world.study(folder)
    list_members(study, designs.values())
    import_tables(study, [TABLE, TABLES / "tiny-sd.jsonl"])
    groups = [
        Group.of("demo", study, seed, [key for key in designs if not seed or key in repeated])
        for seed in SEEDS
    ]
    label_groups(groups, workers=1, seconds=1e9)
    found = [one for one in study.labels.read_all(study.protocol_key) if one.arch_key in designs]
    write_label_table(TABLE, found)
    print(f"{len(found)} labels in {TABLE}")


def build_as_the_demo(path: Path) -> dict[str, list[Architecture]]:
    """The teacher, and what each of the demo's methods builds."""
    study = create_study(path, budget=BUDGET)
    study.probe()
    study.sample()
    study.import_labels(asset_path(TINY_TABLE))
    found = {"teacher": [UNPRUNED]}
    for design in study.build():
        found.setdefault(design.record.method, []).append(design.record.architecture)
    return found


if __name__ == "__main__":
    main()
