"""Whether the product's own commands fit the small cards that `sdsearch plan` says they fit.

    python -m benchmarks.small_cards [--smoke] [--out FILE] [--work FOLDER] [--seconds N]

At the geometry of SD v1.5-inpainting, with random weights and few samples and steps, on one GPU of
80 GB, whose memory is cut for each started command by `pretended_card`; what of a small card that
is, and what not, is said there. A study gets the settings that its own plan proposes for a card,
and goes through `sdsearch label` or `sdsearch recover` on it; beside what was seen stands what the
plan had said. The first commands on pretended cards run beside each other, and tell no times.
Where bitsandbytes is missing, a smaller architecture is labelled on the smallest card, and the long
recovery takes the next larger one.

Parts are printed as Markdown as they come, and written to FILE as JSON. All else is in a new folder
of 30 GB in FOLDER, or where temporary files are, and removed. Parts that would start after N
seconds are skipped; the most valuable come first. `--smoke` does one of each kind at the size of
the embedded model on any machine, without options and latency table; on a processor no memory is
cut. Exit code 1: a part failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benchmarks.card_shell import Inputs, Shell, has_8bit, make_inputs
from benchmarks.card_studies import (
    DESIGN,
    Proof,
    Step,
    ask_plan,
    begin_study,
    copy_study,
    show_step,
)
from benchmarks.full_size import choose_design
from benchmarks.gpu_report import Report, show_facts
from sdsearch.planning import StudyPlan, describe_plan
from sdsearch.study import read_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.card_studies import Settings
    from benchmarks.random_study import Size

T = TypeVar("T")
_PATIENCE = 240.0
"""Seconds that one command may take."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: geometry, settings of the study, photos; one of each kind, or all."""

    size: Size
    settings: Settings
    photos: int
    whole: bool


FULL = Scale(
    "full",
    {
        "protocol": {"samples": 16, "steps": 4, "threads": 8},
        "protocol.recovery": {"steps": 12, "batch_size": 8},
        "export.recovery": {"steps": 12, "batch_size": 8, "ema": 0.999},
    },
    photos=16 + 8 * 16,
    whole=True,
)
SMOKE = Scale(
    "tiny",
    {
        "protocol": {"samples": 2, "steps": 1, "threads": 1},
        "protocol.recovery": {"steps": 1, "batch_size": 2},
        "export.recovery": {"steps": 2, "batch_size": 2, "ema": 0.999},
    },
    photos=2 + 2 * 16,
    whole=False,
)


@dataclass(slots=True)
class Parts:
    """The parts of a report that begin in time."""

    report: Report
    deadline: float
    late: list[str] = field(default_factory=list)

    def add(self, title: str, work: Callable[[], T], show: Callable[[T], str]) -> T | None:
        """Do and show a part; None where it failed, or it is too late for it."""
        return None if self._is_late(title) else self.report.add(title, work, show)

    def add_together(self, works: Mapping[str, Callable[[], Step]]) -> None:
        """Do parts beside each other, and show them in order."""
        works = {title: work for title, work in works.items() if not self._is_late(title)}
        with ThreadPoolExecutor() as pool:
            for title, step in {name: pool.submit(work) for name, work in works.items()}.items():
                self.report.add(title, step.result, show_step)

    def _is_late(self, title: str) -> bool:
        if time.monotonic() <= self.deadline:
            return False
        self.late.append(title)
        self.report.parts[title] = {"skipped": "too late"}
        print(f"\n## {title}\n\nskipped: too late", flush=True)
        return True


def main() -> int:
    """Do part by part, print each; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", dest="scale", action="store_const", const=SMOKE, default=FULL)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options, start = parser.parse_args(), time.monotonic()
    parts = Parts(Report(options.out), start + options.seconds)
    if options.work is not None:
        options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="small-cards-", dir=options.work) as folder:
        shell = Shell(Path(folder), _PATIENCE)

        def stop(*_: object) -> None:
            shell.end()
            sys.exit(143)

        signal.signal(signal.SIGTERM, stop)
        try:
            prove(options.scale, Path(folder), shell, parts)
        finally:
            shell.end()
    failed, late = (", ".join(some) or "nothing" for some in (parts.report.failed, parts.late))
    print(f"\nfailed: {failed}; skipped: {late}; {time.monotonic() - start:.0f} s in all")
    return 1 if parts.report.failed else 0


def prove(scale: Scale, folder: Path, shell: Shell, parts: Parts) -> None:
    """All parts in order of their value; without a teacher and a study there are no others."""

    def make() -> Inputs:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(make_inputs, folder, scale.size, scale.photos).result()

    inputs = parts.add("machine, teacher, photos", make, lambda made: show_facts(made.facts))
    if inputs is None:
        return
    shell.outside = inputs.outside
    begun = parts.add(
        "init and sample", lambda: begin_study(shell, folder, scale.settings), show_seconds
    )
    if begun is None:
        return
    study = read_study(folder / "study")
    whole = copy_study(study, "whole", choose_design(study))
    said = parts.add("plan", lambda: ask_plan(shell, whole), show_plan)
    plan = None if said is None else StudyPlan.model_validate(said)
    proof = Proof(shell, study, whole, inputs.kind, plan)
    works: dict[str, Callable[[], Step]] = {
        "label on 8 GB": lambda: proof.label_on(8.0),
        "long recovery on 12 or 16 GB": lambda: proof.recover_on(12.0, 16.0),
    }
    if scale.whole:
        works["label on 12 GB"] = lambda: proof.label_on(12.0)
    parts.add_together(works)
    parts.add("label on the whole card", proof.label_whole, show_step)
    add_commands(proof, parts)
    if scale.whole:
        parts.add("long recovery on 24 GB", lambda: proof.recover_on(24.0, told=True), show_step)
        add_options(proof, parts)
        add_latency(shell, folder, inputs.kind, parts)


def add_commands(proof: Proof, parts: Parts) -> None:
    """Pictures and the export of the design that was labelled on the whole card."""
    shell, root = proof.shell, proof.whole.root
    said: dict[str, float | None] = {need.stage: need.seconds for need in proof.needs.values()}
    for stage, words in (("compare", ()), ("export", ("--design", DESIGN))):
        plan = {"plan": said[stage]} if said.get(stage) else {}
        work = _run_timed(shell, plan, stage, str(root), *words)
        parts.add(stage, work, show_seconds)


def add_options(proof: Proof, parts: Parts) -> None:
    """A label of the small architecture with each option that no card has called for."""
    lines = {"teacher on the device": '[machine] teacher = "device"'}
    if has_8bit():
        lines["8-bit moments"] = '[protocol.recovery] optimizer = "adamw8bit"'
    lines["compiled"] = "[protocol] compile = true"
    for number, (title, line) in enumerate(lines.items()):

        def label(name: str = f"option-{number}", line: str = line) -> Step:
            return proof.label(name, proof.small, (line,))

        parts.add(f"label: {title}", label, show_step)


def add_latency(shell: Shell, folder: Path, kind: str, parts: Parts) -> None:
    """A latency table of the fewest members that one can have, of the embedded model.

    At full size the weights of all members would take minutes to draw, five times over.
    """
    how = ("--device", kind, "--dtype", "float16", "--cfg", "--members", "20")
    words = ("latency", str(folder / "latency.json"), "--teacher", "tiny", *how)
    parts.add("latency of the embedded model", _run_timed(shell, {}, *words), show_seconds)


def _run_timed(
    shell: Shell, plan: Mapping[str, float | None], *words: str
) -> Callable[[], dict[str, float | None]]:
    return lambda: {words[0]: shell.run(*words).seconds, **plan}


def show_seconds(seconds: Mapping[str, float | None]) -> str:
    """Seconds of each command, and those that the plan had said."""
    return ", ".join(f"{name}: {spent:.1f} s" for name, spent in seconds.items() if spent)


def show_plan(said: dict[str, Any]) -> str:
    """The plan in its own words."""
    return f"```\n{describe_plan(StudyPlan.model_validate(said))}\n```"


if __name__ == "__main__":
    sys.exit(main())
