"""The processes of one job: one per device, started by torchrun, accelerate launch or Slurm."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.harness import is_of_launcher
from sdsearch.labels import Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

Trouble = Failure | Exception | None
"""What went wrong in a process: with one architecture, or with everything."""
_PATIENCE = timedelta(hours=3)
"""How long a process waits for the others: the first makes all lessons of a recovery alone."""

_TORCHRUN = "PYTHONSAFEPATH=1 torchrun --standalone --nproc_per_node"
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where launchers say how many processes they have started."""


class OthersGoneError(WorkError):
    """Another process of the job cannot be reached; how it ended tells their launcher alone."""


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among `size`; the default is a job of one process."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def mine(self, blocks: list[int]) -> list[int]:
        """The share of this process: every `size`-th block."""
        return blocks[self.rank :: self.size]

    def agree(self, trouble: Trouble = None) -> Trouble:
        """Wait for all processes; what troubled the first of them that had trouble, if any had.

        Raises:
            OthersGoneError: one of them has ended.
        """
        if self.size == 1:
            return trouble
        from accelerate.utils import gather_object

        with _noticing_ends():
            found: list[Any] = gather_object([trouble])
        return next((one for one in found if one is not None), None)

    def share(self, value: Any) -> Any:
        """What the first process has as `value`, in every process; all must call it.

        Raises:
            OthersGoneError: one of them has ended.
        """
        if self.size == 1:
            return value
        from accelerate.utils import broadcast_object_list

        with _noticing_ends():
            return broadcast_object_list([value])[0]


@contextmanager
def _noticing_ends() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OthersGoneError(f"another process of this job has ended: {error}") from error


def open_world(expected: int | None = None) -> World:
    """Join the processes of this job.

    Raises:
        InputError: there are not `expected` processes, as when a launcher silently starts one.
    """
    _check_launch(expected)
    from accelerate import PartialState

    # Without this, accelerate sees one process where torchrun started several on a CPU.
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_PATIENCE)
    if expected is not None and state.num_processes != expected:
        raise InputError(
            f"{expected} processes were asked for, but {state.num_processes} run; start them with "
            f"{_TORCHRUN} {expected} -m sdsearch_eval ... (accelerate launch --cpu starts one only)"
        )
    return World(state.process_index, state.num_processes, state.device)


def _check_launch(expected: int | None) -> None:
    """Compare what a launcher says with what is expected, before anybody waits for the others.

    A job of one process joins nobody: what a launcher says to it is left out, since it may be a
    leftover of another one.
    """
    name = next((name for name in _SIZES if name in os.environ), None)
    said = os.environ[name] if name else "1"
    if expected is not None and said != str(expected):
        leftover = f"; without a launcher unset {name}, which says {said}" if name else ""
        raise InputError(
            f"{expected} processes were asked for, but {said} run; start them with {_TORCHRUN} "
            f"{expected} -m sdsearch_eval ... (accelerate launch --cpu starts one only){leftover}"
        )
    if expected == 1:
        for name in filter(is_of_launcher, tuple(os.environ)):
            del os.environ[name]


def leave_world() -> None:
    """End this process's part in the job.

    Threads of a process group that outlive the interpreter abort it now and then, which a launcher
    takes for failed work.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
