"""Files written whole or not at all, each by any number of writers."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def write_atomic(path: Path, data: str | bytes | Iterable[bytes | memoryview]) -> None:
    """Write `data`, or its parts in turn, so that no reader, and no crash, ever sees half of it.

    The bytes go to a uniquely named file in the same folder, are flushed to disk and renamed: safe
    with many writers and on network file systems. Missing parent folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        _write_through(partial, data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_once(path: Path, data: str | bytes) -> bool:
    """Write `data` to `path` unless a file is there; whether this call was the one that wrote it.

    Of any number of writers, on one machine or on a shared file system, exactly one is told yes. A
    file system without hard links (FAT, most object stores) keeps the file whole all the same, but
    there two writers at the same instant may both be told yes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        _write_through(partial, data)
        try:
            os.link(partial, path)
        except FileExistsError:
            # A network file system may have done it and lost its answer on the first try.
            return partial.stat().st_nlink > 1
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            if path.exists():
                return False
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def share_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot.

    Only for files that are replaced as a whole and never written into.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (*_NO_HARD_LINKS, errno.EXDEV, errno.EMLINK):
            raise
        shutil.copyfile(source, target)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def _write_through(partial: Path, data: str | bytes | Iterable[bytes | memoryview]) -> None:
    text = data.encode() if isinstance(data, str) else data
    with partial.open("wb") as stream:
        stream.writelines([text] if isinstance(text, bytes) else text)
        stream.flush()
        os.fsync(stream.fileno())
