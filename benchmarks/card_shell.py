"""What cards are tried with: a random teacher, and commands of the product on pretended cards."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.full_size_gpu import find_device
from benchmarks.gpu_report import describe_machine
from benchmarks.pretended_card import CAP, LOG, OUTSIDE, read_log, write_site
from benchmarks.random_study import find_geometry, write_photos, write_pipeline
from sdsearch.errors import WorkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.random_study import Size

_TOLD = 15
"""So many last lines are told of a command that failed."""
_MOST_OUTSIDE = 10**9
"""What is missing of a card beyond that is other programs'."""
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What was made, and where: kind of device, bytes of it that a process takes beside tensors."""

    kind: str
    outside: int
    facts: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that was run: its seconds, its standard output, what its card saw."""

    seconds: float
    output: str
    seen: Mapping[str, int]


@dataclass(slots=True)
class Shell:
    """Starts commands, each on the whole card, or on a pretended one.

    Attributes:
        folder: for what the pretended cards need.
        patience: seconds that a command may take.
        outside: bytes that a process takes of the device beside torch's allocator.
    """

    folder: Path
    patience: float
    outside: int = 0
    running: set[subprocess.Popen[str]] = field(default_factory=set)

    def run(self, *words: str | Path, card: float | None = None, fine: Sequence[int] = (0,)) -> Ran:
        """Run `sdsearch WORDS` on a card of so many gigabytes, to its end.

        Raises:
            WorkError: its exit code is none of those that are `fine`, or it took too long.
        """
        line = [sys.executable, "-m", "sdsearch", *map(str, words)]
        log = self.folder / f"log-{time.time_ns()}"
        log.mkdir(parents=True)
        start = time.perf_counter()
        process = subprocess.Popen(
            line,
            env=self._environment(log, card),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.running.add(process)
        try:
            output, told = process.communicate(timeout=self.patience)
        except subprocess.TimeoutExpired:
            _kill(process)
            output, told = process.communicate()
            told += f"\nended, as it took more than {self.patience:g} s"
        finally:
            self.running.discard(process)
        if process.returncode not in fine:
            last = "\n".join(f"{output}\n{told}".strip().splitlines()[-_TOLD:])
            said = " ".join(map(str, words))
            raise WorkError(f"{said}: exit code {process.returncode}\n\n```\n{last}\n```")
        return Ran(round(time.perf_counter() - start, 1), output, read_log(log))

    def end(self) -> None:
        """Kill what is running."""
        for process in tuple(self.running):
            _kill(process)

    def _environment(self, log: Path, card: float | None) -> dict[str, str]:
        """Ours, with a pretended card; the checkout counts as installed."""
        site = write_site(log / "site")
        ours = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
        path = os.pathsep.join([str(site), str(_ROOT), str(_ROOT / "eval"), *ours])
        cut = {} if card is None else {CAP: str(round(card * 1e9)), OUTSIDE: str(self.outside)}
        return {**os.environ, "PYTHONPATH": path, LOG: str(log), **cut}


def make_inputs(folder: Path, size: Size, photos: int) -> Inputs:
    """Write the teacher, on the device at hand, and its photos.

    To be done by a process of its own, which gives the device back.
    """
    device, outside = find_device(), 0
    if device.type == "cuda":
        torch.cuda.init()
        free, total = torch.cuda.mem_get_info()
        outside = min(total - free, _MOST_OUTSIDE)
    geometry = find_geometry(size)
    write_pipeline(folder / "teacher", geometry, device)
    write_photos(folder / "photos", photos, geometry.resolution)
    facts = {
        **describe_machine(device),
        "a process takes beside tensors": f"{outside / 1e9:.2f} GB",
        "bitsandbytes": "installed" if has_8bit() else "not installed",
    }
    return Inputs(device.type, outside, facts)


def has_8bit() -> bool:
    """Whether the package of 8-bit moments is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def _kill(process: subprocess.Popen[str]) -> None:
    """End a command with what it has started; the harness of labels ends with it by itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
