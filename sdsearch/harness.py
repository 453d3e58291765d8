"""Starting the harness, always in processes of its own: the package never imports it.

A request travels as a JSON file whose path is the harness's only argument, so that every process
of a job can read it. The environment of these processes is ours, and so is their end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sdsearch.errors import HarnessError, InputError
from sdsearch.shell import interrupted_by_signals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psutil

OWNED = "SDSEARCH_PARENT"
"""The environment variable that says which process a harness was started for."""
_SAFE_PATHS = "PYTHONSAFEPATH"
"""The environment variable by which Python leaves the current folder out, as its option -P."""
_LAST_BREATH = 10.0
"""Seconds that a process has to tidy up after Ctrl-C."""
_LAUNCHER_NAMES = frozenset(
    {
        *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
        *("NODE_RANK", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
        *("MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    }
)
_LAUNCHER_PREFIXES = (
    *("TORCHELASTIC_", "PET_", "ACCELERATE_", "FSDP_", "PARALLELISM_CONFIG_"),
    *("PMI_", "PMIX_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_"),
)


class Request(Protocol):
    """A request of `sdsearch.study.requests`."""

    @property
    def stage(self) -> str:
        """What users call this work."""

    @property
    def lighter(self) -> str:
        """How the same work needs less memory."""

    def model_dump_json(self) -> str:
        """The request as JSON."""


def run_harness(request: Request, processes: int = 1) -> None:
    """Have the harness do what a request asks for; it shows its own progress and errors.

    Raises:
        HarnessError: it ended badly.
        KeyboardInterrupt: it was stopped; nothing that it has started is left.
    """
    with written(request) as file, interrupted_by_signals():
        process = subprocess.Popen(harness_line(file, processes), env=harness_environment())
        try:
            code = process.wait()
        except BaseException:
            _interrupt(process)
            raise
    if code:
        raise HarnessError(request.stage, code, request.lighter)


def harness_environment() -> dict[str, str]:
    """The environment of every process that we start.

    Ours, less what says that a launcher (torchrun, accelerate, MPI, Slurm's PMI) had started it,
    which would have it wait for others that do not exist. No module is imported because it lies in
    the current folder; `PYTHONPATH` counts, but for empty entries, which mean that folder. They
    are told to end with this process.
    """
    found = {name: value for name, value in os.environ.items() if not is_of_launcher(name)}
    if path := found.pop("PYTHONPATH", ""):
        found["PYTHONPATH"] = os.pathsep.join(part for part in path.split(os.pathsep) if part)
    return {**found, _SAFE_PATHS: "1", OWNED: str(os.getpid())}


@contextmanager
def safe_paths() -> Iterator[None]:
    """As long as the context is open, processes import nothing because it lies where they start.

    For those that a library starts for us: spawned workers and their trackers begin with
    `python -c`, and torchrun's with `python -m`, which both look in the current folder first.
    """
    before = os.environ.get(_SAFE_PATHS)
    os.environ[_SAFE_PATHS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATHS]
        else:
            os.environ[_SAFE_PATHS] = before


def end_with_parent() -> None:
    """Watch the process that started this one, where that was ours; end within seconds of it.

    However it ends: SIGKILL leaves it no time to end what it has started. Of several processes of
    a job each watches torchrun, which watches us.
    """
    if OWNED not in os.environ:
        return
    import psutil

    parent, owner = os.getppid(), int(os.environ[OWNED])

    def watch() -> None:
        # The owner may be gone before this begins to look; where numbers of parents stay, as on
        # Windows, it alone tells.
        while os.getppid() == parent and psutil.pid_exists(owner):
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def is_of_launcher(name: str) -> bool:
    """Whether an environment variable tells a process its place in a job of several."""
    return name in _LAUNCHER_NAMES or name.startswith(_LAUNCHER_PREFIXES)


@contextmanager
def written(request: Request) -> Iterator[Path]:
    """A file that holds a request as long as the context is open."""
    with tempfile.TemporaryDirectory(prefix="sdsearch-") as folder:
        file = Path(folder) / "request.json"
        try:
            file.write_text(request.model_dump_json(), encoding="utf-8")
        except ValueError as error:
            raise InputError(
                f"paths must be UTF-8 to go to another process, but: {error}; rename the file or "
                "folder"
            ) from None
        yield file


def harness_line(request: Path, processes: int = 1) -> list[str]:
    """The command line of a harness job; with several processes the harness has torchrun start."""
    several = [f"--processes={processes}"] if processes > 1 else []
    return [sys.executable, "-m", "sdsearch_eval", *several, str(request)]


def find_family(process: subprocess.Popen[Any]) -> list[psutil.Process]:
    """All that a process has started, and what those have started."""
    import psutil

    try:
        return list(psutil.Process(process.pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def kill_family(process: subprocess.Popen[Any], known: Iterable[psutil.Process] = ()) -> None:
    """Kill a process with all that it has started; `known` may have lost their parent by now."""
    import psutil

    for member in {*known, *find_family(process)}:  # torchrun gives each of them a session
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.kill()


def _interrupt(process: subprocess.Popen[Any]) -> None:
    """Ctrl-C for a process that may have had it already; what does not end in time is killed."""
    family = find_family(process)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_LAST_BREATH)
    except subprocess.TimeoutExpired:
        pass
    finally:
        kill_family(process, family)
        process.wait()
