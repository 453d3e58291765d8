"""Measure what the comparison needs, and what of the embedded teacher is open beside it.

    python -m benchmarks.worlds.campaign FOLDER     # hours on 2 cores; killed, it resumes
    python -m benchmarks.worlds.campaign FOLDER --workers 15 --seconds 540 --out FOLDER

Studies lie in FOLDER; committed labels (assets/worlds/labels) are imported and not measured again.
Each world's uniform members are first. Once all of them are there, every method's designs are
chosen from each draw and measured under three seeds. `--out` gets the tables when the time is over;
by default they go where the committed ones are. What is committed stays as it is.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.worlds.choose import Chosen, Compared, choose_designs
from benchmarks.worlds.labelling import Group, label_groups
from benchmarks.worlds.rules import rule_designs
from benchmarks.worlds.studies import (
    SEEDED,
    SEEDS,
    TABLES,
    WORLDS,
    World,
    draw_members,
    draw_stratified,
    import_tables,
    list_members,
)
from sdsearch.assets import TINY_PROBE, TINY_TABLE, asset_path
from sdsearch.design import read_probe
from sdsearch.files import write_atomic
from sdsearch.harness import safe_paths
from sdsearch.labels import read_label_table, write_label_table
from sdsearch.replay import DRAW
from sdsearch.space import list_removals, search_space
from sdsearch.space.removals import with_option
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.design import Probe
    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

PRIMARY = {"macs 60 %": 0.6}
EMBEDDED = {"macs 70 %": 0.7, "macs 60 %": 0.6}
LIVE: tuple[Compared, ...] = ("default", "exhaustive", "one-shot")
"""The methods whose designs are measured on the embedded teacher too."""
EXPLORED: Compared = "default"
"""What the comparison does not decide on (docs/decisions/0030): its designs come last."""
SHIPPED = 68


@dataclass
class Campaign:
    """One world's measurements."""

    world: World
    folder: Path
    members: list[Architecture]
    processes: int
    probing: subprocess.Popen[bytes] | None = None
    chosen: list[Chosen] = field(default_factory=list)

    @property
    def study(self) -> StudyFolder:
        """Its study under the protocol of the comparison."""
        return self.world.study(self.folder)

    @property
    def designs_file(self) -> Path:
        """Where the chosen designs are, one a line."""
        return self.study.root / "chosen.jsonl"

    @property
    def draws(self) -> list[list[Architecture]]:
        """The members by draw."""
        if self.world.name == "tiny-sd":
            return [self.members]
        return [self.members[at : at + DRAW] for at in range(0, len(self.members), DRAW)]

    def begin(self) -> list[Group]:
        """The groups that depend on nothing."""
        study, name = self.study, self.world.name
        # What the embedded teacher's predictors learn from is measured already, without blocks.
        members = [] if name == "tiny-sd" else self.members
        first = {arch.key: arch for arch in [UNPRUNED, *members]}
        extra = {arch.key: arch for arch in [*self._compared_long(), *self._ruled()]}
        list_members(study, [*first.values(), *extra.values()])
        if name == "tiny-sd":
            extra = {}
        import_tables(study, self._tables())
        self._begin_probe(study)
        groups = [Group.of(f"{name} members", study, 0, [*first, *extra])]
        if name != "tiny-sd":
            some = list(first)[: 1 + SEEDED]
            groups += [Group.of(f"{name} seeded", study, seed, some) for seed in SEEDS[1:]]
        return groups

    def late(self) -> list[Group]:
        """What is least urgent: recovery for longer."""
        if self.world.name == "tiny-sd":
            removed = [arch.key for arch in self._ruled()]
            return [Group.of("tiny-sd removals", self.study, 0, removed)]
        return self._long_groups([arch.key for arch in self._compared_long()], [self.world.long])

    def follow(self, group: Group) -> list[Group]:
        """The designs, once all labels that they are chosen from are there."""
        if group.name != f"{self.world.name} members, seed 0":
            return []
        self.chosen = self._choose()
        if self.world.name == "tiny-sd":
            self.chosen = [one for one in self.chosen if one.method in LIVE]
        if not self.chosen:
            return []
        list_members(self.study, (one.architecture for one in self.chosen))
        compared = {one.arch_key for one in self.chosen if one.method != EXPLORED}
        explored = {one.arch_key for one in self.chosen} - compared
        groups = [
            Group.of(f"{self.world.name} {name}", self.study, seed, sorted(keys))
            for name, keys in (("designs", compared | {UNPRUNED.key}), ("explored", explored))
            for seed in SEEDS
        ]
        if self.world.name == "tiny-sd":
            tight = {one.arch_key: one for one in self.chosen if one.budget == "macs 60 %"}
            groups += self._long_groups(list(tight), [self.world.long])
        return groups

    def write(self, out: Path) -> None:
        """The tables: all labels, the probe, the designs; what is there already stays."""
        name = self.world.name
        labels = {one.key: one for study in self._studies() for one in study.labels.read_all()}
        for table in {TABLES / f"{name}.jsonl", out / f"{name}.jsonl"}:
            if table.is_file():
                labels |= {one.key: one for one in read_label_table(table)}
        write_label_table(out / f"{name}.jsonl", labels.values())
        own = {"probe.json": self.study.probe_file, "chosen.jsonl": self.designs_file}
        for end, file in own.items():
            target = out / f"{name}-{end}"
            source = next(filter(Path.is_file, (TABLES / target.name, file)), None)
            if source is not None and not target.is_file():
                write_atomic(target, source.read_bytes())

    def end(self) -> None:
        """Leave no process behind."""
        if self.probing is not None and self.probing.poll() is None:
            self.probing.terminate()
            self.probing.wait()

    def _tables(self) -> list[Path]:
        return [TABLES / f"{self.world.name}.jsonl"]

    def _studies(self) -> list[StudyFolder]:
        found = [self.study]
        for path in sorted(self.folder.glob(f"{self.world.name}-*")):
            said = path.name.removeprefix(f"{self.world.name}-")
            if said.isdigit():
                found.append(self.world.study(self.folder, int(said)))
        return found

    def _long_groups(self, keys: Sequence[str], steps: Sequence[int]) -> list[Group]:
        known = {one.arch_key: one.architecture for one in self.chosen}
        known |= {arch.key: arch for arch in self._compared_long()}
        groups = []
        for count in steps:
            study = self.world.study(self.folder, count)
            list_members(study, [known[key] for key in keys])
            import_tables(study, self._tables())
            groups.append(Group.of(f"{self.world.name} {count} steps", study, 0, keys))
        return groups

    def _compared_long(self) -> list[Architecture]:
        return [] if self.world.name == "tiny-sd" else draw_stratified()

    def _ruled(self) -> list[Architecture]:
        if self.world.name != "tiny-sd":
            return list(rule_designs(self.study).values())
        space = search_space("tiny")
        return [
            with_option(space, axis, number)
            for axis, numbers in enumerate(list_removals(space))
            for number in numbers
        ]

    def _begin_probe(self, study: StudyFolder) -> None:
        committed = TABLES / f"{self.world.name}-probe.json"
        if self.world.name == "tiny-sd" or study.probe_file.is_file() or committed.is_file():
            return
        self.probing = subprocess.Popen(
            [sys.executable, "-m", "sdsearch", "probe", str(study.root)],
            stdout=subprocess.DEVNULL,
        )

    def _probe(self) -> Probe:
        if self.probing is not None and self.probing.wait():
            raise RuntimeError(f"the probe of {self.world.name} failed")
        own = self.study.probe_file
        committed = TABLES / f"{self.world.name}-probe.json"
        file = asset_path(TINY_PROBE) if self.world.name == "tiny-sd" else committed
        found = read_probe(own if own.is_file() else file)
        assert found is not None, "the probe was measured"
        return found

    def _choose(self) -> list[Chosen]:
        committed = TABLES / f"{self.world.name}-chosen.jsonl"
        for file in (committed, self.designs_file):
            # Chosen once: processors round otherwise, and a fit on another may choose another.
            if file.is_file():
                lines = file.read_text(encoding="utf-8").splitlines()
                return [Chosen.model_validate_json(line) for line in lines]
        study, probe = self.study, self._probe()
        labels, budgets = study.labels.read_series(study.series), PRIMARY
        if self.world.name == "tiny-sd":
            table, budgets = read_label_table(asset_path(TINY_TABLE)), EMBEDDED
            labels = {one.arch_key: one for one in table if one.seed == 0}
        missing = [arch.key for arch in self.members if arch.key not in labels]
        if missing:
            print(f"{self.world.name}: {len(missing)} members have no label; run again", flush=True)
            return []
        jobs = [
            (self.world.name, study, budgets, draw, [labels[arch.key] for arch in members], probe)
            for draw, members in enumerate(self.draws)
        ]
        context = multiprocessing.get_context("spawn")
        with safe_paths(), ProcessPoolExecutor(min(self.processes, len(jobs)), context) as pool:
            found = [one for part in pool.map(_choose_draw, jobs) for one in part]
        text = "".join(one.model_dump_json() + "\n" for one in found)
        write_atomic(self.designs_file, text)
        print(f"{self.world.name}: {len({one.arch_key for one in found})} designs", flush=True)
        return found


def main() -> None:
    """Measure until all is there, or the time is over."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=TABLES)
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    campaigns = [
        Campaign(WORLDS[name], folder, _members(name), asked.workers) for name in asked.worlds
    ]
    groups = [group for campaign in campaigns for group in campaign.begin()]
    groups.sort(key=lambda group: "seeded" in group.name)
    late = [group for campaign in campaigns for group in campaign.late()]

    def follow(group: Group) -> list[Group]:
        return [more for campaign in campaigns for more in campaign.follow(group)]

    asked.out.mkdir(parents=True, exist_ok=True)
    try:
        label_groups([*groups, *late], asked.workers, asked.seconds, follow)
    finally:
        for campaign in campaigns:
            campaign.end()
            campaign.write(asked.out)
    print(json.dumps({one.world.name: _count(asked.out, one) for one in campaigns}))


def _members(name: str) -> list[Architecture]:
    if name != "tiny-sd":
        return draw_members()
    import numpy as np

    return search_space("tiny").sample(SHIPPED, np.random.default_rng(0))


def _count(out: Path, campaign: Campaign) -> int:
    return len(read_label_table(out / f"{campaign.world.name}.jsonl"))


def _choose_draw(
    job: tuple[str, StudyFolder, dict[str, float], int, list[Label], Probe],
) -> list[Chosen]:
    return choose_designs(*job)


if __name__ == "__main__":
    main()
