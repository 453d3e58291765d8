"""Kill a whole study again and again, and compare what comes of it with one that was left alone.

    python -m benchmarks.kill_campaign [SEED [HITS]]     the committed output is kill_campaign.txt

The study imports nothing and has default settings but for its size. Every hit is drawn: which
stage, how far into it, and what happens: SIGKILL or SIGTERM for the command, SIGKILL for the
harness that it started, or SIGSTOP for all of them for a while. After a hit the command is started
again where it has ended. Values of labels, pictures, designs and exported weights must be equal bit
for bit at the end, and no architecture may be blamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sdsearch.design import read_probe
from sdsearch.labels import LabelKey
from sdsearch.study import read_listing, read_study
from sdsearch.workers.claims import read_attempts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sdsearch.study import StudyFolder

HITS = 14
STUDY = """
[space]
labels = 4  # and the four named members

[protocol]
samples = 4
block_size = 2
steps = 2
feature_size = 32
recovery = { steps = 3, batch_size = 2 }

[build]
top = 1
budget = { params = { share = 0.60 } }
"""
STAGES = ("probe", "sample", "prepare", "label", "fit to build", "compare", "export", "report")
WAYS = ("SIGKILL", "SIGTERM", "SIGKILL of the harness", "SIGSTOP")
PAUSE, GLANCE = 2.0, 0.01
"""Seconds that a stopped run is left alone, and between two looks at how far it is."""
STARTS = 5
"""Times that a run may end at one hit before it counts as one that does not go on."""


def main(seed: int = 1, hits: int = HITS) -> int:
    """Run the campaign; 1 where anything differs."""
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as place:
        began = time.monotonic()
        alone = Campaign(make_study(Path(place) / "alone"))
        lengths = alone.watch()
        tell(f"left alone: {time.monotonic() - began:.0f} s, by stages: {describe(lengths)}")
        began = time.monotonic()
        killed = Campaign(make_study(Path(place) / "killed"))
        for hit in plan_hits(random.Random(seed), hits):
            tell(killed.take(hit, lengths))
        killed.finish()
        tell(f"killed: {time.monotonic() - began:.0f} s, {killed.starts} starts")
        missed = [name for name in STAGES if killed.struck.count(name) < hits // len(STAGES)]
        tell(f"stages that were over before they were hit as often as planned: {missed or 'none'}")
        return compare(alone.study, killed.study) or int(bool(missed))


def compare(alone: StudyFolder, killed: StudyFolder) -> int:
    """Say what differs, and who is blamed; 1 for anything at all."""
    expected, found = fingerprint(alone), fingerprint(killed)
    differing = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    blamed = list(find_blame(killed))
    tell(f"compared {len(expected)} values and hashes: {len(differing)} differ {differing or ''}")
    tell(f"architectures blamed: {len(blamed)} {blamed or ''}")
    return int(bool(differing or blamed))


def tell(text: str) -> None:
    """One line of the committed output."""
    print(text.rstrip(), flush=True)


def describe(lengths: dict[str, float]) -> str:
    """Seconds by stage, in words."""
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in lengths.items())


def make_study(folder: Path) -> StudyFolder:
    """A study of the embedded teacher, with scenes."""
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    return read_study(folder)


@dataclass(frozen=True, slots=True)
class Hit:
    """What happens, in which stage, and how far into it: a share of its usual length."""

    stage: str
    way: str
    share: float


def plan_hits(rng: random.Random, count: int) -> list[Hit]:
    """Hits in the order of stages, each stage as often as any other, but for the rest."""
    stages = [*STAGES * (count // len(STAGES)), *rng.sample(STAGES, count % len(STAGES))]
    return [
        Hit(stage, rng.choice(WAYS), rng.uniform(0.02, 0.3))
        for stage in sorted(stages, key=STAGES.index)
    ]


@dataclass(slots=True)
class Campaign:
    """One study, and the command that is at it, if one is."""

    study: StudyFolder
    starts: int = 0
    struck: list[str] = field(default_factory=list)
    run: subprocess.Popen[bytes] | None = field(default=None)

    def watch(self) -> dict[str, float]:
        """Run undisturbed; how long each stage took."""
        lengths = dict.fromkeys(STAGES, 0.0)
        self.start()
        before = time.monotonic()
        while self.is_running():
            stage, now = stage_of(self.study), time.monotonic()
            lengths[stage or STAGES[-1]] += now - before
            before = now
            time.sleep(GLANCE)
        self.finish()
        return lengths

    def take(self, hit: Hit, lengths: dict[str, float]) -> str:
        """Bring the run to a stage and hit it there; what was done, in words."""
        for _ in range(STARTS):
            if not self.is_running():
                self.start()
            while self.is_running() and before(stage_of(self.study), hit.stage):
                time.sleep(GLANCE)
            time.sleep(hit.share * lengths[hit.stage])
            stage = stage_of(self.study)
            if self.is_running():
                self.struck.append(stage or STAGES[-1])
                return f"{self.struck[-1]}: {self.strike(hit.way)}"
        raise AssertionError(f"the run ended {STARTS} times before it came to {hit.stage}")

    def strike(self, way: str) -> str:
        """Send the signal; what became of the command."""
        assert self.run is not None
        process = psutil.Process(self.run.pid)
        family = process.children(recursive=True)
        if way == "SIGSTOP":
            each(psutil.Process.suspend, [process, *family])
            time.sleep(PAUSE)
            each(psutil.Process.resume, [*family, process])
            return f"SIGSTOP of {1 + len(family)} processes for {PAUSE:.0f} s"
        if way == "SIGKILL of the harness" and family:
            each(psutil.Process.kill, family)
            return way
        name = "SIGTERM" if way == "SIGTERM" else "SIGKILL"
        self.run.send_signal(getattr(signal, name))
        self.run.wait()
        psutil.wait_procs(family, timeout=60)
        return f"{name}, its {len(family)} processes ended with it"

    def finish(self) -> None:
        """Let it run to its end, started again where it has ended badly."""
        for _ in range(STARTS):
            if self.run is not None and self.run.wait() == 0:
                return
            self.start()
        raise AssertionError("it does not come to its end; see what it says")

    def start(self) -> None:
        """Start the command that does everything."""
        self.starts += 1
        self.run = subprocess.Popen(
            [sys.executable, "-m", "sdsearch", "run", str(self.study.root)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def is_running(self) -> bool:
        """Whether the command is at work."""
        return self.run is not None and self.run.poll() is None


def each(act: Callable[[psutil.Process], None], processes: list[psutil.Process]) -> None:
    """Do something to processes, some of which may be gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            act(process)


def stage_of(study: StudyFolder) -> str | None:
    """Which stage a study is at, by its files; None where all is done."""
    if not study.probe_file.is_file():
        return "probe"
    if not study.architectures_file.is_file():
        return "sample"
    if not study.designs_file.is_file():
        keys = [file.parent.name for file in study.labels.folder.glob("*/*.json")]
        if len(keys) >= 8:
            return "fit to build"
        begun = any('"begun":true' in one.read_text() for one in study.claims_dir.rglob("at*.json"))
        return "label" if keys or begun else "prepare"
    if not (study.compare_dir / "gallery.json").is_file():
        return "compare"
    (export,) = [one.name for one in study.pipelines_dir.glob("[!.]*/")] or [""]
    if not export or not (study.pipelines_dir / export / "costs.json").is_file():
        return "export"
    return None if study.report_file.is_file() else "report"


def before(stage: str | None, other: str) -> bool:
    """Whether a stage comes before another one."""
    return stage is not None and STAGES.index(stage) < STAGES.index(other)


def fingerprint(study: StudyFolder) -> dict[str, str]:
    """Values and hashes of all that must not depend on how often a study was killed."""
    study = read_study(study.root)
    found = {
        f"label {label.arch_key} {name}": repr(value)
        for label in study.labels.read_all()
        for name, value in label.values.items()
        if name != "latency_ms"  # a clock's
    }
    probe = read_probe(study.probe_file)
    assert probe is not None, "a run probes first"
    found |= {f"probe {one.unit} {one.option}": repr(one.errors) for one in probe.removals}
    files = [study.architectures_file, study.designs_file, study.compare_dir / "gallery.json"]
    files += study.pipelines_dir.rglob("*.safetensors")
    files += study.pipelines_dir.rglob("thumbnails/*")
    for file in files:
        data = file.read_bytes()
        found[str(file.relative_to(study.root))] = hashlib.sha256(data).hexdigest()
    return found


def find_blame(study: StudyFolder) -> Iterator[str]:
    """Failed labels, missing ones, and attempts that count against an architecture."""
    study = read_study(study.root)
    for key in read_listing(study).architectures:
        if LabelKey(key, study.series) not in study.labels:
            yield f"{key} has no label"
        elif failure := study.labels.read(LabelKey(key, study.series)).failure:
            yield f"{key} failed: {failure}"
    for folder in study.claims_dir.glob("*/"):
        for attempt in read_attempts(folder):
            if attempt.state == "lost":
                yield f"{folder.name}: {json.dumps(attempt.reason)}"


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
