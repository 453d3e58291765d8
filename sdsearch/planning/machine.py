"""The machine: how much host memory this process may have, and how much disk is free."""

from __future__ import annotations

import shutil
from pathlib import Path

_PROCESS, _MOUNT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_FILES = ("memory.max", "memory.limit_in_bytes")
"""Where control groups of version 2 and 1 say their limit."""


def host_memory(process: Path = _PROCESS, mount: Path = _MOUNT) -> int:
    """Bytes of memory that this process may have: all of the machine's, or its group's limit.

    Containers and batch systems limit a group of processes; `process` and `mount` are where Linux
    says which.
    """
    import psutil

    return min([int(psutil.virtual_memory().total), *_limits(process, mount)])


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is, or will be."""
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _limits(process: Path, mount: Path) -> list[int]:
    """The limits of this process's group and of all that it is in."""
    try:
        lines = process.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        root = mount / "memory" if "memory" in controllers.split(",") else mount
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            found += [limit for name in _FILES if (limit := _read_limit(folder / name))]
            if folder == root:
                break
    return found


def _read_limit(file: Path) -> int | None:
    try:
        said = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(said) if said.isdecimal() else None  # "max": none
