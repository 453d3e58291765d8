"""Serving: label architectures at the call of a worker, which can end this process at any time."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from sdsearch.console import show_status
from sdsearch.errors import InputError, WorkError
from sdsearch.labels import check_comparable
from sdsearch.planning import check_study
from sdsearch.shell import describe_error
from sdsearch.study import read_listing, read_study
from sdsearch.workers import (
    Answer,
    Begun,
    FailOrder,
    Finished,
    FinishOrder,
    Labelled,
    LabelOrder,
    Lost,
    Order,
    Ready,
    Stopped,
    read_order,
    write_answer,
)
from sdsearch_eval.bench import (
    evaluate_architecture,
    fail_label,
    find_disk_error,
    find_outliers,
    name_failure,
    write_floors,
)
from sdsearch_eval.jobs.workspace import open_bench, open_console
from sdsearch_eval.planning import settle_labels
from sdsearch_eval.world import OthersGoneError, World, open_world

if TYPE_CHECKING:
    from rich.console import Console

    from sdsearch.labels import Label
    from sdsearch.study import ServeRequest, StudyFolder
    from sdsearch.unet import Architecture
    from sdsearch_eval.bench import Bench

_NOTICED = 5.0
"""Seconds in which a launcher notices that one of its processes has ended."""
_UNFORESEEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class LabelDesk:
    """Labels to order, from all processes of this job together.

    Every process calls the same methods with the same arguments; the first gets the labels.
    `kept` are the architectures whose recovered weights stay, since they will be exported.
    """

    study: StudyFolder
    bench: Bench
    listed: dict[str, Architecture]
    kept: frozenset[str]
    world: World
    console: Console

    def prepare(self) -> None:
        """Make every lesson of the recovery; the rest is there since the bench was opened."""
        if self.world.is_first:
            self.bench.lessons.fill(self.bench.protocol.recovery.steps)
        self.world.agree()

    def label(self, arch_key: str) -> Label | None:
        """Measure; only the first process gets the label."""
        rows = self.study.rows_dir(arch_key) / self.bench.content
        keeps = arch_key in self.kept
        weights = self.study.recovered_file(arch_key) if keeps else rows / "weights.safetensors"
        self.study.make(rows)
        arch = self.listed[arch_key]
        return evaluate_architecture(arch, self.bench, rows, weights, self.world, keep=keeps)

    def finish(self) -> None:
        """Measure outliers once more, then what needs no architecture: the floors."""
        self._repeat_outliers()
        if self.world.is_first:
            what = "floors: the autoencoder alone, the teacher under other noise"
            with show_status(self.console, what):
                write_floors(self.bench, self.study.floors_file)

    def _repeat_outliers(self) -> None:
        """Measure labels far from all others again; both values are kept."""
        column = self.bench.protocol.column("fd")
        labels = list(self.study.labels.read_series(self.study.series).values())
        for label in self.world.share(find_outliers(labels, column)):
            if self.world.share(label.key in self.study.repeats):
                continue
            rows = self.study.make(self.study.repeats.path(label.key).with_suffix(""))
            weights = rows / "weights.safetensors"
            again = evaluate_architecture(
                label.architecture, self.bench, rows, weights, self.world, keep=False
            )
            if again is None:
                continue
            self.study.repeats.write(again)
            weights.unlink(missing_ok=True)
            first, second = label.values.get(column), again.values.get(column)
            found = "the same again" if first == second else f"{first}, then {second}"
            self.console.print(f"{label.arch_key} is far from all others in {column}: {found}")


def serve_labels(request: ServeRequest) -> int:
    """Answer orders from standard input, as `sdsearch.workers.messages` has them; exit code.

    It ends with whoever gives the orders: at the end of its input, whatever it is doing.

    Raises:
        OthersGoneError: another process of this job has ended. That is no answer: only how it
            ended, which their launcher says, tells whether the architecture is to blame.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever gives the orders ends this
    answers = _keep_answers_apart()
    world = open_world(request.processes)
    try:
        desk = open_desk(request, world)
        desk.prepare()
        if not world.is_first:
            _follow(desk)
            return 0
        orders = _listen()
        _give(answers, Ready())
        while True:
            order = world.share(orders.get())
            if isinstance(order, LabelOrder):
                _give(answers, Begun())
            _give(answers, _answer(desk, order))
    except OthersGoneError:
        time.sleep(_NOTICED)  # the launcher says how the first of its processes ended
        raise
    except (InputError, WorkError, OSError) as error:
        if not world.is_first:
            raise
        is_input = isinstance(error, InputError)
        kept = "" if is_input else "; what was finished is kept"
        _give(answers, Stopped(message=f"{describe_error(error)}{kept}", is_input=is_input))
        return 2 if is_input else 1


def open_desk(request: ServeRequest, world: World) -> LabelDesk:
    """Prepare what all labels share, whichever command, script or node asks for them.

    Raises:
        InputError: the study's labels are of another teacher, dataset or extractor, or something
            in the study as it is now would be refused later.
    """
    home = read_study(request.study)
    check_study(home)
    study = home.at_rung(request.rung).at_seed(request.seed)
    listing = read_listing(study)
    study = settle_labels(study, listing.architectures.values(), world.device)
    console = open_console(world)
    bench = open_bench(study, console, world)
    study = study.knowing(bench.resolved)
    check_comparable(study.labels.read_all(study.protocol_key), bench.provenance)
    if photos := bench.provenance.get("photos"):
        console.print(str(photos), soft_wrap=True)
    is_own = (request.rung, request.seed) == (None, home.config.seed)
    kept = listing.keys_from("design") if is_own else []
    return LabelDesk(study, bench, listing.architectures, frozenset(kept), world, console)


def _answer(desk: LabelDesk, order: Order) -> Answer:
    """Do what is ordered. What nobody foresaw is a lost attempt at a label."""
    if isinstance(order, FinishOrder):
        desk.finish()
        return Finished()
    try:
        if isinstance(order, FailOrder):
            label = fail_label(desk.listed[order.arch_key], desk.bench, order.failure)
        else:
            label = _first(desk.label(order.arch_key))
    except (InputError, WorkError, OSError):
        raise
    except _UNFORESEEN as error:
        if (trouble := find_disk_error(error)) is not None:
            raise trouble from error
        traceback.print_exc()
        return Lost(failure=name_failure(error))
    if label.failure and label.failure.is_passing:
        return Lost(failure=label.failure)
    return Labelled(label=label)


def _first(label: Label | None) -> Label:
    assert label is not None, "the first process of a job gets the label"
    return label


def _follow(desk: LabelDesk) -> None:
    """Take part in what the first process is ordered to do, for as long as it lives."""
    while True:
        order: Order = desk.world.share(None)
        if isinstance(order, LabelOrder):
            desk.label(order.arch_key)
        elif isinstance(order, FinishOrder):
            desk.finish()


def _listen() -> queue.Queue[Order]:
    """The orders as they come; without anybody to give more, this process has no purpose."""
    orders: queue.Queue[Order] = queue.Queue()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8")  # whatever the terminal's is

    def listen() -> None:
        for line in sys.stdin:
            orders.put(read_order(line))
        os._exit(1)

    threading.Thread(target=listen, name="orders", daemon=True).start()
    return orders


def _keep_answers_apart() -> TextIO:
    """A stream for answers alone: what libraries print from now on goes to standard error."""
    sys.stdout.flush()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _give(answers: TextIO, answer: Answer) -> None:
    answers.write(write_answer(answer))
    answers.flush()
