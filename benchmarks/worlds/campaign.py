"""Measure what the comparison needs.

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
from sdsearch.design import read_probe
from sdsearch.files import write_atomic
from sdsearch.harness import safe_paths
from sdsearch.labels import read_label_table, write_label_table
from sdsearch.replay import DRAW
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from sdsearch.design import Probe
    from sdsearch.labels import Label
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

PRIMARY = {"macs 60 %": 0.6}
EXPLORED: Compared = "default"
"""What the comparison does not decide on (docs/decisions/0030): its designs come last."""


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
    def table(self) -> Path:
        """Its committed labels."""
        return TABLES / f"{self.world.name}.jsonl"

    @property
    def designs_file(self) -> Path:
        """Where the chosen designs are, one a line."""
        return self.study.root / "chosen.jsonl"

    @property
    def draws(self) -> list[list[Architecture]]:
        """The members by draw."""
        return [self.members[at : at + DRAW] for at in range(0, len(self.members), DRAW)]

    def begin(self) -> list[Group]:
        """The groups that depend on nothing."""
        study, name = self.study, self.world.name
        first = {arch.key: arch for arch in [UNPRUNED, *self.members]}
        extra = {arch.key: arch for arch in [*draw_stratified(), *rule_designs(study).values()]}
        list_members(study, [*first.values(), *extra.values()])
        import_tables(study, [self.table])
        self._begin_probe(study)
        some = list(first)[: 1 + SEEDED]
        return [
            Group.of(f"{name} members", study, 0, [*first, *extra]),
            *(Group.of(f"{name} seeded", study, seed, some) for seed in SEEDS[1:]),
        ]

    def late(self) -> list[Group]:
        """What is least urgent: recovery for longer."""
        study, compared = self.world.study(self.folder, self.world.long), draw_stratified()
        list_members(study, compared)
        import_tables(study, [self.table])
        keys = [arch.key for arch in compared]
        return [Group.of(f"{self.world.name} {self.world.long} steps", study, 0, keys)]

    def follow(self, group: Group) -> list[Group]:
        """The designs, once all labels that they are chosen from are there."""
        if group.name != f"{self.world.name} members, seed 0":
            return []
        self.chosen = self._choose()
        if not self.chosen:
            return []
        list_members(self.study, (one.architecture for one in self.chosen))
        compared = {one.arch_key for one in self.chosen if one.method != EXPLORED}
        explored = {one.arch_key for one in self.chosen} - compared
        return [
            Group.of(f"{self.world.name} {name}", self.study, seed, sorted(keys))
            for name, keys in (("designs", compared | {UNPRUNED.key}), ("explored", explored))
            for seed in SEEDS
        ]

    def write(self, out: Path) -> None:
        """The tables: all labels, the probe, the designs; what is there already stays."""
        name = self.world.name
        labels = {one.key: one for study in self._studies() for one in study.labels.read_all()}
        for table in {self.table, out / f"{name}.jsonl"}:
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

    def _studies(self) -> list[StudyFolder]:
        found = [self.study]
        for path in sorted(self.folder.glob(f"{self.world.name}-*")):
            said = path.name.removeprefix(f"{self.world.name}-")
            if said.isdigit():
                found.append(self.world.study(self.folder, int(said)))
        return found

    def _begin_probe(self, study: StudyFolder) -> None:
        committed = TABLES / f"{self.world.name}-probe.json"
        if study.probe_file.is_file() or committed.is_file():
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
        found = read_probe(own if own.is_file() else committed)
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
        labels = study.labels.read_series(study.series)
        missing = [arch.key for arch in self.members if arch.key not in labels]
        if missing:
            print(f"{self.world.name}: {len(missing)} members have no label; run again", flush=True)
            return []
        jobs = [
            (self.world.name, study, PRIMARY, draw, [labels[arch.key] for arch in members], probe)
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
        Campaign(WORLDS[name], folder, draw_members(), asked.workers) for name in asked.worlds
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


def _count(out: Path, campaign: Campaign) -> int:
    return len(read_label_table(out / f"{campaign.world.name}.jsonl"))


def _choose_draw(
    job: tuple[str, StudyFolder, dict[str, float], int, list[Label], Probe],
) -> list[Chosen]:
    return choose_designs(*job)


if __name__ == "__main__":
    main()
