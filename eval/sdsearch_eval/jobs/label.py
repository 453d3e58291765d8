"""Labelling a study: this job as a worker of its own, or at the call of one (`serve`)."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from sdsearch.console import following_labels
from sdsearch.errors import InputError, WorkError
from sdsearch.files import write_atomic
from sdsearch.labels.store import check_comparable, label_path, read_labels
from sdsearch.study.folder import read_study
from sdsearch.workers.process import ANSWER
from sdsearch.workers.worker import finish_labels, needs_finish, open_claims, work_off
from sdsearch_eval.bench.evaluate import evaluate, fail_label
from sdsearch_eval.bench.floors import write_floors
from sdsearch_eval.bench.outliers import find_outliers
from sdsearch_eval.jobs.listing import choose_listed, read_built, read_listed
from sdsearch_eval.jobs.workspace import open_bench, open_console
from sdsearch_eval.world import World, open_world

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from rich.console import Console

    from sdsearch.labels.label import Label
    from sdsearch.study.folder import StudyFolder
    from sdsearch.unet.architecture import Architecture
    from sdsearch_eval.bench.bench import Bench


_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class JobLabeller:
    """A `Labeller` of this job: the first process says what to do, and the others do it too."""

    study: StudyFolder
    bench: Bench
    listed: dict[str, Architecture]
    kept: frozenset[str]
    world: World
    console: Console

    def label(self, arch_key: str, is_abandoned: Callable[[], bool] = lambda: False) -> Label:
        """Measure; nobody but the worker that published the label removes what served it."""
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
        if self.world.is_first:
            self.bench.lessons.fill(self.bench.protocol.recovery.steps)
        self.world.agree()

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
        return evaluate(self.listed[arch_key], bench, rows, weights, self.world)

    def _finish(self) -> None:
        self._repeat_outliers()
        if self.world.is_first:
            with self.console.status(
                "floors: the autoencoder alone, the teacher under other noise"
            ):
                write_floors(self.bench, self.study.floors_path(self.bench.seed))

    def _repeat_outliers(self) -> None:
        """Measure labels far from all others again; the second value is kept beside the first."""
        study, bench, column = self.study, self.bench, self.bench.protocol.column("fd")
        labels = [x for x in read_labels(study, bench.protocol.key) if x.seed == bench.seed]
        for label in self.world.share(find_outliers(labels, column)):
            first = label_path(study, label.arch_key, bench.protocol.key, bench.seed)
            second = first.parent / "again" / first.name
            if self.world.share(second.exists()):
                continue
            rows = second.with_suffix("")
            weights = rows / "weights.safetensors"
            again = evaluate(label.architecture, bench, rows, weights, self.world)
            if again is None:
                continue
            write_atomic(second, again.model_dump_json() + "\n")
            weights.unlink(missing_ok=True)
            first_value, value = label.values.get(column), again.values.get(column)
            same = first_value == value
            found = "the same again" if same else f"{first_value}, then {value}"
            self.console.print(f"{label.arch_key} is far from all others in {column}: {found}")


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
    study, world = read_study(folder), open_world(processes)
    seed = study.config.seed if seed is None else seed
    keys = list(choose_listed(read_listed(study), only, study))
    protocol_key = study.config.protocol.key
    missing = [key for key in keys if not label_path(study, key, protocol_key, seed).exists()]
    console, claims = open_console(world), open_claims(study, seed)
    todo, unfinished = world.share((missing, needs_finish(claims, keys)))
    if not todo and not unfinished:
        console.print(f"all {len(keys)} labels of protocol {protocol_key} seed {seed} are there")
        return
    labeller = open_labeller(study, seed, world, console)
    if not world.is_first:
        labeller.follow()
        return
    with following_labels(len(keys), len(keys) - len(todo)) as tell:
        work_off(study, seed, keys, labeller, claims, tell)
        finish_labels(keys, labeller, claims)
    labeller.dismiss()


def serve_labels(
    folder: Path, seed: int | None = None, rung: int | None = None, processes: int | None = None
) -> int:
    """Answer requests from standard input, as `sdsearch.workers.process` makes them; exit code.

    It ends with whoever made the requests: at the end of its input, whatever it is doing.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever made the requests ends this
    answers = _keep_answers_apart()
    _end_with_parent()
    world = open_world(processes)
    try:
        study = read_study(folder).at_rung(rung)
        seed = study.config.seed if seed is None else seed
        requests = _listen() if world.is_first else None
        labeller = open_labeller(study, seed, world, open_console(world))
        labeller.prepare()
        if requests is None:
            labeller.follow()
            return 0
        _answer(answers, {"ready": True})
        while True:
            _answer(answers, _do(labeller, requests.get()))
    except (InputError, WorkError, OSError) as error:
        if not world.is_first:
            raise
        code = 2 if isinstance(error, InputError) else 1
        kept = "; what was finished is kept, run again to go on" if code == 1 else ""
        _answer(answers, {"stop": f"{error}{kept}", "code": code})
        return code


def _do(labeller: JobLabeller, request: dict[str, str]) -> dict[str, object]:
    """Do what is asked for; the answer. What nobody foresaw is a lost attempt at a label."""
    if request["do"] == "finish":
        labeller.finish()
        return {"done": True}
    key = request["key"]
    try:
        failed = request["do"] == "fail"
        label = labeller.fail(key, request["reason"]) if failed else labeller.label(key)
    except (InputError, WorkError, OSError):
        raise
    except _UNFORESEEN as error:
        traceback.print_exc()
        return {"lost": f"{type(error).__name__}: {error}"}
    return {"label": json.loads(label.to_json())}


def open_labeller(study: StudyFolder, seed: int, world: World, console: Console) -> JobLabeller:
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


def _keep_answers_apart() -> TextIO:
    """A stream for answers alone: what libraries print from now on goes to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, answer: dict[str, object]) -> None:
    answers.write(ANSWER + json.dumps(answer) + "\n")
    answers.flush()


def _end_with_parent() -> None:
    """End when the process that started this one, a worker or torchrun, is no more."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
