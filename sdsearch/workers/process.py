"""A harness job kept at hand: it labels one architecture after another and can be ended any time.

It takes orders and gives answers as `messages` has them; the first answer says that the samples are
prepared. What ends while it owes an answer has died; it tells of the architecture only if the
measurement had begun, and nobody else ended it. Time that it is not let run counts for nothing.
"""

from __future__ import annotations

import queue
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from sdsearch.endings import advise, count_memory_kills, describe_exit, is_own_end
from sdsearch.errors import InputError, WorkError
from sdsearch.harness import (
    find_family,
    harness_environment,
    harness_line,
    kill_family,
    written,
)
from sdsearch.labels import Failure, Label
from sdsearch.study import ServeRequest, read_study
from sdsearch.workers.messages import (
    Answer,
    Begun,
    FailOrder,
    FinishOrder,
    Labelled,
    LabelOrder,
    Lost,
    Order,
    Stopped,
    read_answer,
    write_order,
)
from sdsearch.workers.worker import AbandonedError, AttemptLostError, TimeLimitError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    import psutil

    from sdsearch.study import StudyFolder
    from sdsearch.workers.claims import Claim

_GLANCE = 0.5
"""Seconds between two looks at whether the process lives, and the claim is still ours."""
_LONGEST_GLANCE = 2 * _GLANCE
_LAST_BREATH = 20.0
"""Seconds that a killed process may take to be gone."""
_FINISH_LIMITS = 20
"""A start and the finish may take as long as so many labels."""


class _TooLongError(WorkError):
    """The time limit has passed."""


@dataclass(slots=True)
class HarnessProcess:
    """A `Labeller` that works in a process, or in several under torchrun, on this machine.

    The process is started when it is first needed, and again after it died or was ended. Use it as
    a context manager, which ends it.
    """

    study: StudyFolder
    processes: int = 1
    rung: int | None = None
    _process: subprocess.Popen[str] | None = None
    _resources: ExitStack = field(default_factory=ExitStack)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    _family: list[psutil.Process] = field(default_factory=list)
    _memory_kills: int = 0

    def label(self, arch_key: str, claim: Claim | None = None) -> Label:
        """Measure. After a failed label the process is ended: no other pays for what it left.

        Without a claim nobody else may be at work on it.

        Raises:
            AttemptLostError: the process died, ran out of memory, or the claim was lost.
            TimeLimitError: it ran for longer than the study's time limit and was ended.
            InputError, WorkError: what the process says, or its start, concerns all labels.
        """
        limit = self.study.config.label.time_limit
        order = LabelOrder(arch_key=arch_key)
        watched = (claim.is_superseded, claim.begin) if claim else ()
        self._ready(*watched[:1])
        try:
            answer = self._ask(order, limit, *watched)
        except _TooLongError:
            self.end()
            raise TimeLimitError(limit) from None
        label = self._label_of(answer)
        if label.failure:
            self.end()
        return label

    def fail(self, arch_key: str, failure: Failure) -> Label:
        """The failed label, with the provenance that all labels have."""
        with _no_more_attempts("label"):
            return self._label_of(self._ask(FailOrder(arch_key=arch_key, failure=failure)))

    def tidy(self, arch_key: str) -> None:
        """Remove recovered weights that only the label was made from."""
        rows = self.study.at_rung(self.rung).rows_dir(arch_key)
        for weights in rows.glob("*/weights.safetensors"):
            weights.unlink(missing_ok=True)

    def finish(self) -> None:
        """Repeat outliers and measure the floors."""
        with _no_more_attempts("finish the labels"):
            self._ask(FinishOrder(), _FINISH_LIMITS * self.study.config.label.time_limit)

    def prepare(self) -> None:
        """Compute what all labels share, if it is not in the study yet."""
        self._ready()

    def pause(self, seconds: float) -> None:
        """Wait, without a process: what it holds in memory may serve others."""
        self.end()
        time.sleep(seconds)

    def end(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        kill_family(self._process, self._family)
        try:
            self._process.wait(timeout=_LAST_BREATH)
        except subprocess.TimeoutExpired:
            raise WorkError(
                f"process {self._process.pid} of the harness cannot be ended, which a hung driver "
                "or file system may cause: this machine needs attention; run again elsewhere"
            ) from None
        if self._process.stdin:
            with suppress(OSError):  # a request that nobody reads any more
                self._process.stdin.close()
        self._process, self._family = None, []
        self._resources.close()

    def __enter__(self) -> Self:
        """Nothing starts before it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.end()

    def _ask(
        self,
        order: Order,
        limit: float | None = None,
        is_abandoned: Callable[[], bool] = lambda: False,
        begin: Callable[[], None] = lambda: None,
    ) -> Answer:
        process = self._ready(is_abandoned)
        assert process.stdin is not None
        self._memory_kills = count_memory_kills()
        with suppress(OSError):  # it has died, which is seen while waiting for the answer
            process.stdin.write(write_order(order))
            process.stdin.flush()
        limit = limit or self.study.config.label.time_limit
        while isinstance(answer := self._answer(limit, is_abandoned), Begun):
            begin()
        return answer

    def _ready(self, is_abandoned: Callable[[], bool] = lambda: False) -> subprocess.Popen[str]:
        """The process, started and prepared; what goes wrong with that concerns all labels."""
        if self._process is not None and self._process.poll() is not None:
            self.end()  # it died while it had nothing to do
        if self._process is None:
            self._process = self._start()
            with _no_more_attempts("prepare the labels"):
                self._answer(_FINISH_LIMITS * self.study.config.label.time_limit, is_abandoned)
            self._family = find_family(self._process)
        return self._process

    @property
    def _request(self) -> ServeRequest:
        return ServeRequest(
            study=self.study.root,
            seed=self.study.config.seed,
            rung=self.rung,
            processes=self.processes,
        )

    def _refuse_changes(self) -> None:
        """What is measured is read from study.toml anew; raise where it says other than we know."""
        wanted, found = self.study.config, read_study(self.study.root).config
        for name in ("teacher", "protocol"):
            if getattr(found, name) != getattr(wanted, name):
                raise InputError(
                    f"study.toml must stay as it is while a worker runs, but [{name}] has changed; "
                    "run again with the new one"
                )

    def _start(self) -> subprocess.Popen[str]:
        self._refuse_changes()
        file = self._resources.enter_context(written(self._request))
        process = subprocess.Popen(
            harness_line(file, self.processes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=harness_environment(),
            start_new_session=True,  # Ctrl-C is for us: we give the claim back first
        )
        self._lines = queue.Queue()
        threading.Thread(
            target=_listen, args=(process, self._lines), name="answers", daemon=True
        ).start()
        return process

    def _answer(self, limit: float, is_abandoned: Callable[[], bool]) -> Answer:
        """The next answer; what the process prints besides is passed over.

        The limit is of time in which the process runs: of what lies between two glances no more
        than one counts, since else this process was asleep too, and nothing while it is stopped.
        """
        spent, looked = 0.0, time.monotonic()
        while True:
            assert self._process is not None
            ended = self._process.poll() is not None
            try:
                line = self._lines.get(timeout=_GLANCE)
            except queue.Empty:
                line = None if ended else ""
            if line is None:
                self._raise_death()
            answer = read_answer(line)
            if is_abandoned() and not isinstance(answer, Labelled):
                self.end()  # whatever it says: the new owner may have taken away what it needs
                raise AbandonedError
            if answer:
                return self._checked(answer)
            now = time.monotonic()
            spent += 0 if self._is_stopped() else min(now - looked, _LONGEST_GLANCE)
            looked = now
            if spent > limit:
                raise _TooLongError(
                    f"preparing or finishing took longer than {limit:g} s; raise time_limit in "
                    "[label] of study.toml, then run again"
                )

    def _is_stopped(self) -> bool:
        """Whether a signal has stopped the process, or one that it has started."""
        import psutil

        assert self._process is not None
        with suppress(psutil.NoSuchProcess):
            family = [psutil.Process(self._process.pid), *self._family]
            return any(member.status() == psutil.STATUS_STOPPED for member in family)
        return False

    def _checked(self, answer: Answer) -> Answer:
        """An answer to an order; an end of the process is raised."""
        if isinstance(answer, Stopped):
            self.end()
            raise (InputError if answer.is_input else WorkError)(answer.message)
        if isinstance(answer, Lost):
            self.end()
            raise AttemptLostError(answer.failure)
        return answer

    def _raise_death(self) -> NoReturn:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_LAST_BREATH)
        code = self._process.returncode
        self.end()
        message = f"its process {describe_exit(code)}; {advise(code, self._request.lighter)}"
        own = is_own_end(code, memory_ran_out=count_memory_kills() > self._memory_kills)
        raise AttemptLostError(Failure(kind="lost", message=message), is_own_end=own)

    def _label_of(self, answer: Answer) -> Label:
        assert isinstance(answer, Labelled), f"a label was ordered, but the answer is {answer}"
        label, wanted = answer.label, self.study.at_rung(self.rung).series
        if label.key.series != wanted:
            raise InputError(
                f"study.toml must stay as it is while a worker runs, but protocol "
                f"{wanted.protocol_key} has become {label.protocol_key}; run again with the new one"
            )
        return label


@contextmanager
def _no_more_attempts(what: str) -> Iterator[None]:
    """Nothing counts the attempts at what is not a label: a death ends the worker."""
    try:
        yield
    except AbandonedError:
        raise
    except AttemptLostError as error:
        raise WorkError(
            f"the harness could not {what}: {error}; what was finished is kept"
        ) from None


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put(None)
