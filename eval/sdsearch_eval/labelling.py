"""Labelling a study: this job as a worker of its own, or at the call of one (`serve`)."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError, WorkError
from sdsearch.files import write_atomic
from sdsearch.harness_process import ANSWER
from sdsearch.labels import check_comparable, label_path, read_labels
from sdsearch.stages import following_labels
from sdsearch.study import load_study
from sdsearch.worker import finish_labels, open_claims, work_off
from sdsearch_eval.floors import write_floors
from sdsearch_eval.harness import evaluate, fail_label
from sdsearch_eval.job import open_bench, open_console
from sdsearch_eval.listing import choose_listed, read_built, read_listed
from sdsearch_eval.outliers import find_outliers
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from sdsearch.architecture import Architecture
    from sdsearch.labels import Label
    from sdsearch.study import Study
    from sdsearch_eval.bench import Bench


@dataclass(frozen=True, slots=True)
class JobLabeller:
    """A `Labeller` of this job: the first process says what to do, and the others do it too."""

    study: Study
    bench: Bench
    listed: dict[str, Architecture]
    kept: frozenset[str]
    world: World
    console: Console

    def label(self, arch_key: str, is_abandoned: Callable[[], bool] = lambda: False) -> Label:
        """Measure; what no design needs of it is removed once all have seen it."""
        self.world.share(("label", arch_key))
        label = self._evaluate(arch_key)
        assert label is not None
        return label

    def fail(self, arch_key: str, reason: str) -> Label:
        """The failed label of an architecture that others could not measure."""
        return fail_label(self.listed[arch_key], self.bench, reason)

    def pause(self, seconds: float) -> None:
        """Wait, and let the others wait too, before a collective call of theirs times out."""
        self.world.share(("pause", seconds))
        time.sleep(seconds)

    def finish(self) -> None:
        """Measure outliers once more, then what needs no architecture: the floors."""
        self.world.share(("finish", None))
        self._finish()

    def prepare(self) -> None:
        """Make every lesson of the recovery; the rest is there since the bench was opened."""
        for step in range(self.bench.protocol.recovery.steps):
            self.bench.lessons[step]

    def dismiss(self) -> None:
        """Let the others go."""
        self.world.share(None)

    def follow(self) -> None:
        """Do what the first process says until it lets us go."""
        while (order := self.world.share(None)) is not None:
            what, detail = order
            if what == "label":
                self._evaluate(detail)
            elif what == "pause":
                time.sleep(detail)
            else:
                self._finish()

    def _evaluate(self, arch_key: str) -> Label | None:
        study, bench = self.study, self.bench
        keeps = arch_key in self.kept and bench.seed == study.config.seed
        rows = study.rows_path(arch_key, bench.seed) / bench.content
        weights = study.recovered_path(arch_key) if keeps else rows / "weights.safetensors"
        label = evaluate(self.listed[arch_key], bench, rows, weights, self.world)
        if label is not None and not keeps:
            weights.unlink(missing_ok=True)
        return label

    def _finish(self) -> None:
        self._repeat_outliers()
        if self.world.is_first:
            with self.console.status(
                "floors: the autoencoder alone, the teacher under other noise"
            ):
                write_floors(self.bench, self.study.floors_path(self.bench.seed))

    def _repeat_outliers(self) -> None:
        """Measure labels far from all others again; the second value is kept beside the first."""
        study, bench = self.study, self.bench
        column = bench.protocol.column("fd")
        labels = [x for x in read_labels(study, bench.protocol.key) if x.seed == bench.seed]
        for label in find_outliers(labels, column):
            first = label_path(study, label.arch_key, bench.protocol.key, bench.seed)
            second = first.parent / "again" / first.name
            if second.exists():
                continue
            rows = second.with_suffix("")
            again = evaluate(
                label.architecture, bench, rows, rows / "weights.safetensors", self.world
            )
            if again is not None:
                write_atomic(second, again.model_dump_json() + "\n")
                first_value, value = label.values.get(column), again.values.get(column)
                same = first_value == value
                found = "the same again" if same else f"{first_value}, then {value}"
                self.console.print(f"{label.arch_key} is far from all others in {column}: {found}")
            self.world.agree()


def label_study(
    folder: Path,
    seed: int | None = None,
    only: Sequence[str] | None = None,
    processes: int | None = None,
) -> None:
    """Label every listed architecture without a label; each label is one atomic file.

    An architecture that fails gets a label that says why, and the next one follows. The recovered
    weights of designs are kept, since they will be exported. `processes` is how many of this job
    are expected; each works on its share of the blocks. Other jobs and workers may be at the same
    study. There is no time limit here: whoever started the job may set one.

    Raises:
        InputError: something concerns all labels.
    """
    study, world = load_study(folder), open_world(processes)
    seed = study.config.seed if seed is None else seed
    keys = list(choose_listed(read_listed(study), only, study))
    protocol_key = study.config.protocol.key
    todo = [key for key in keys if not label_path(study, key, protocol_key, seed).exists()]
    console = open_console(world)
    world.agree()  # the list is made before anybody writes
    if not todo:
        console.print(f"all {len(keys)} labels of protocol {protocol_key} seed {seed} are there")
        return
    labeller = open_labeller(study, seed, world, console)
    if not world.is_first:
        labeller.follow()
        return
    with following_labels(len(keys), len(keys) - len(todo)) as tell:
        claims = open_claims(study, seed)
        work_off(study, seed, keys, labeller, claims, tell)
        finish_labels(labeller, claims)
    labeller.dismiss()


def serve_labels(
    folder: Path, seed: int | None = None, rung: int | None = None, processes: int | None = None
) -> int:
    """Answer requests from standard input, as `sdsearch.harness_process` makes them; exit code.

    It ends with whoever made the requests: at the end of its input, whatever it is doing.
    """
    world = open_world(processes)
    try:
        study = load_study(folder).at_rung(rung)
        seed = study.config.seed if seed is None else seed
        requests = _listen() if world.is_first else None
        labeller = open_labeller(study, seed, world, open_console(world))
        if requests is None:
            labeller.follow()
            return 0
        _answer({"ready": True})
        while True:
            request = requests.get()
            if request["do"] in ("prepare", "finish"):
                (labeller.prepare if request["do"] == "prepare" else labeller.finish)()
                _answer({"done": True})
                continue
            key = request["key"]
            failed = request["do"] == "fail"
            label = labeller.fail(key, request["reason"]) if failed else labeller.label(key)
            _answer({"label": json.loads(label.to_json())})
    except (InputError, WorkError, OSError) as error:
        if not world.is_first:
            raise
        code = 2 if isinstance(error, InputError) else 1
        kept = "; what was finished is kept, run again to go on" if code == 1 else ""
        _answer({"stop": f"{error}{kept}", "code": code})
        return code


def open_labeller(study: Study, seed: int, world: World, console: Console) -> JobLabeller:
    """Prepare what all labels share.

    Raises:
        InputError: the study's labels are of another teacher, dataset or extractor.
    """
    bench = open_bench(study, console, seed, world)
    check_comparable(read_labels(study, study.config.protocol.key), bench.provenance)
    if skipped := bench.provenance.get("skipped_images"):
        console.print(f"skipped as unreadable: {skipped}", style="yellow", markup=False)
    kept = frozenset(read_built(study))
    return JobLabeller(study, bench, read_listed(study), kept, world, console)


def _listen() -> queue.Queue[dict[str, Any]]:
    """The requests as they come; without anybody to make more, this process has no purpose."""
    requests: queue.Queue[dict[str, Any]] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            requests.put(json.loads(line))
        os._exit(1)

    threading.Thread(target=listen, name="requests", daemon=True).start()
    return requests


def _answer(answer: dict[str, object]) -> None:
    sys.stdout.write(ANSWER + json.dumps(answer) + "\n")
    sys.stdout.flush()
