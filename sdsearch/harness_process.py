"""A harness job kept at hand: it labels one architecture after another and can be ended any time.

Requests go to its standard input, a JSON object a line; answers come on its standard output behind
a mark, so that whatever libraries print there does no harm. The first answer says that the samples
are prepared. What ends while it owes an answer has died.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from sdsearch.errors import InputError, WorkError
from sdsearch.labels import Label
from sdsearch.processes import harness_line
from sdsearch.worker import AttemptLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from sdsearch.study import Study

ANSWER = "@sdsearch "
"""What an answer's line begins with."""
_GLANCE = 0.5
_MEMORY = ("OutOfMemoryError", "MemoryError")


class _TooLongError(WorkError):
    """The time limit has passed."""


@dataclass(slots=True)
class HarnessProcess:
    """A `Labeller` that works in a process, or in several under torchrun, on this machine.

    The process is started when it is first needed, and again after it died or was ended. Use it as
    a context manager, which ends it.
    """

    study: Study
    seed: int
    processes: int = 1
    rung: int | None = None
    _process: subprocess.Popen[str] | None = None
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)

    def label(self, arch_key: str, is_abandoned: Callable[[], bool]) -> Label:
        """Measure; a process that hangs is ended at the study's time limit, which fails the label.

        Raises:
            AttemptLostError: the process died, ran out of memory, or the claim was lost.
            InputError, WorkError: what the process says concerns all labels.
        """
        limit = self.study.config.label.time_limit
        try:
            answer = self._ask({"do": "label", "key": arch_key}, is_abandoned)
        except _TooLongError:
            self.end()
            return self.fail(arch_key, f"it took longer than the time limit of {limit:g} s")
        label = Label.model_validate(answer["label"])
        if label.status == "failed" and str(label.reason).startswith(_MEMORY):
            self.end()  # what lies in memory from earlier ones goes with the process
            raise AttemptLostError(str(label.reason))
        return label

    def fail(self, arch_key: str, reason: str) -> Label:
        """The failed label, with the provenance that all labels have."""
        with _no_more_attempts():
            answer = self._ask({"do": "fail", "key": arch_key, "reason": reason})
        return Label.model_validate(answer["label"])

    def finish(self) -> None:
        """Repeat outliers and measure the floors; a rung's labels need neither."""
        if self.rung is None:
            with _no_more_attempts():
                self._ask({"do": "finish"})

    def prepare(self) -> None:
        """Compute what all labels share, if it is not in the study yet."""
        with _no_more_attempts():
            self._ask({"do": "prepare"})

    def pause(self, seconds: float) -> None:
        """Wait, without a process: what it holds in memory may serve others."""
        self.end()
        time.sleep(seconds)

    def end(self) -> None:
        """End the process and all that it started."""
        if self._process is None:
            return
        import psutil

        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in family:  # torchrun gives each of its processes a session of its own
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait()
        if self._process.stdin:
            with suppress(OSError):  # a request that nobody reads any more
                self._process.stdin.close()
        self._process = None

    def __enter__(self) -> Self:
        """Nothing starts before it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.end()

    def _ask(
        self, request: dict[str, str], is_abandoned: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        process = self._ready(is_abandoned)
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except OSError:
            self._raise_death()
        return self._answer(is_abandoned)

    def _ready(self, is_abandoned: Callable[[], bool] = lambda: False) -> subprocess.Popen[str]:
        if self._process is None:
            options = ["--seed", str(self.seed)]
            options += [] if self.rung is None else ["--rung", str(self.rung)]
            self._process = subprocess.Popen(
                harness_line("serve", self.study.root, *options, processes=self.processes),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is for us: we give the claim back first
            )
            self._lines = queue.Queue()
            threading.Thread(
                target=_listen, args=(self._process, self._lines), name="answers", daemon=True
            ).start()
            self._answer(is_abandoned)
        return self._process

    def _answer(self, is_abandoned: Callable[[], bool]) -> dict[str, Any]:
        limit = self.study.config.label.time_limit
        ends = time.monotonic() + limit
        while True:
            try:
                line = self._lines.get(timeout=_GLANCE)
            except queue.Empty:
                if is_abandoned():
                    self.end()
                    raise AttemptLostError("another worker found the lease run out") from None
                if time.monotonic() > ends:
                    raise _TooLongError(
                        f"preparing or measuring took longer than [label] time_limit = {limit:g} s"
                    ) from None
                continue
            if line is None:
                self._raise_death()
            if line.startswith(ANSWER):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                if "stop" in answer:
                    self.end()
                    raise (InputError if answer["code"] == 2 else WorkError)(answer["stop"])
                return answer

    def _raise_death(self) -> NoReturn:
        assert self._process is not None
        code = self._process.wait()
        self.end()
        raise AttemptLostError(f"its process {_how_it_ended(code)}")


@contextmanager
def _no_more_attempts() -> Iterator[None]:
    """Nothing counts the attempts at what is not a label: a death ends it."""
    try:
        yield
    except AttemptLostError as error:
        raise WorkError(f"the harness could not do its work: {error}") from None


def _listen(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"
