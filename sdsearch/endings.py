"""How a process ended: by which code or signal, the likely cause, and what to do about it."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path

_SHELL = 128
"""Shells, and a launcher of several processes, say a signal as 128 and its number."""
_DRIVER = "let the GPU's driver and torch be of versions that fit each other, then run again"
_SIGNALS: dict[str, tuple[str, str]] = {
    "SIGKILL": ("usually because host memory ran out", ""),
    "SIGTERM": (
        "as a batch system does when a job's time is over",
        "give the job more time, then run again to go on",
    ),
    "SIGHUP": ("as its terminal was closed", "start it under nohup, then run again to go on"),
    "SIGSEGV": ("usually by a fault in a driver or a compiled library", _DRIVER),
    "SIGBUS": (
        "usually by a driver, or because the disk of a mapped file or /dev/shm is full",
        "free space there, or set workers = 0 in [machine] of study.toml, then run again",
    ),
    "SIGABRT": ("usually because a driver or a compiled library gave up", _DRIVER),
    "SIGILL": (
        "because a library was built for another processor",
        "install torch for this one, then run again",
    ),
    "SIGXCPU": ("at its limit of CPU time", "raise that limit, then run again to go on"),
    "SIGXFSZ": ("at its limit of a file's size", "raise that limit, then run again to go on"),
}
"""Signal -> the likely cause, and the next step; "" where that depends on what was done."""
_OWN = frozenset({"SIGSEGV", "SIGABRT", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS"})
"""Signals that a process brings upon itself, unless somebody means harm."""
MORE_MEMORY = "end other programs, or take a machine with more memory, then run again to go on"


def describe_exit(code: int | None) -> str:
    """How a process ended, by its exit code; below 0 is a signal.

    >>> describe_exit(3)
    'ended with exit code 3'
    >>> describe_exit(-15)
    "was ended by SIGTERM, as a batch system does when a job's time is over"
    """
    if code is None:
        return "closed its output and went on"
    name = name_signal(code)
    if name is None:
        return f"ended with exit code {code}"
    cause, _ = _SIGNALS.get(name, ("", ""))
    return f"was ended by {name}" + (f", {cause}" if cause else "")


def advise(code: int | None, lighter: str = MORE_MEMORY) -> str:
    """What to do after a process ended so; `lighter` says how the same work needs less memory.

    >>> advise(-9, "choose a smaller batch")
    'choose a smaller batch'
    """
    name = None if code is None else name_signal(code)
    if name is None:
        return "what it printed says more"
    _, step = _SIGNALS.get(name, ("", "run again to go on"))
    return step or lighter


def is_own_end(code: int | None, *, memory_ran_out: bool = False) -> bool:
    """Whether an exit code proves that a process ended by itself, and that nobody ended it.

    Its own faults are that, and a SIGKILL where memory ran out meanwhile. Signals that a person, a
    scheduler or a full disk may send are not.

    >>> is_own_end(3), is_own_end(-11), is_own_end(-15), is_own_end(-9)
    (True, True, False, False)
    >>> is_own_end(137, memory_ran_out=True)
    True
    """
    if code is None or code == _SHELL + signal.SIGINT:
        return False
    name = name_signal(code)
    return name is None or name in _OWN or (name == "SIGKILL" and memory_ran_out)


def count_memory_kills() -> int:
    """How many processes Linux has killed so far because memory ran out; 0 where it does not say.

    Of this process's own control group, such as a container or a job of a scheduler, where there is
    one: what other programs of the machine come to is no evidence. Else of the whole machine.
    """
    for file in (*_own_events(), Path("/proc/vmstat")):
        with suppress(OSError, ValueError):
            for line in file.read_text(encoding="ascii").splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
    return 0


def _own_events() -> tuple[Path, ...]:
    """The file of the memory events of this process's control group (version 2), if it has one."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/"):
                return (Path("/sys/fs/cgroup", line.removeprefix("0::/"), "memory.events"),)
    return ()


def name_signal(code: int) -> str | None:
    """The signal that an exit code tells of; None for a process that ended by itself.

    >>> name_signal(-9), name_signal(137), name_signal(1)
    ('SIGKILL', 'SIGKILL', None)
    """
    number = -code if code < 0 else code - _SHELL
    if number <= 0 or code == _SHELL + signal.SIGINT:  # by which our own commands say Ctrl-C
        return None
    known = {each.value: each.name for each in signal.Signals}
    return known.get(number, f"signal {number}" if code < 0 else None)


def shell_code(code: int) -> int:
    """An exit code as shells say it: 128 and the number of a signal.

    >>> shell_code(-9), shell_code(2)
    (137, 2)
    """
    return code if code >= 0 else _SHELL - code
