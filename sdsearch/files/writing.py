"""Files written whole or not at all, each by any number of writers.

Folders are made on the way, but only inside of one that is there: where a study was moved or
deleted while something worked on it, nothing is made anew at its old place.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_NO_HARD_LINKS = (
    *(errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS),
    *(errno.EINVAL, errno.EMLINK, errno.EXDEV),
)


class FolderGoneError(FileNotFoundError):
    """A folder that was worked in is no longer at its place."""

    def __init__(self, folder: Path) -> None:
        said = "a folder was moved or deleted during the work, so that nothing more is written"
        super().__init__(errno.ENOENT, said, str(folder))


def make_folder(folder: Path, home: Path) -> Path:
    """Make a folder, and what is missing between it and `home`, which holds it and must be there.

    Returns:
        The folder.

    Raises:
        FolderGoneError: `home` is not there.
    """
    below = folder.relative_to(home).parts
    if not home.is_dir():
        raise FolderGoneError(home)
    with noticing_moves(home):
        for depth in range(len(below)):
            home.joinpath(*below[: depth + 1]).mkdir(exist_ok=True)
    return folder


def write_atomic(
    path: Path, data: str | bytes | Iterable[bytes | memoryview], home: Path | None = None
) -> None:
    """Write `data`, or its parts in turn, so that no reader, and no crash, ever sees half of it.

    The bytes go to a uniquely named file in the same folder, are flushed to disk and renamed: safe
    with many writers and on network file systems. Missing folders below `home` are made.

    Args:
        path: of the file.
        data: all of it, or its parts.
        home: a folder around it that must be there; by default its own.

    Raises:
        FolderGoneError: it is not there.
        InputError: a folder has the file's name.
    """
    home = home or path.parent
    partial = _partial(make_folder(path.parent, home) / path.name)
    try:
        with noticing_moves(home):
            _write_through(partial, data)
            partial.replace(path)
    except OSError:
        if path.is_dir():  # what is raised for that differs from system to system
            raise InputError(f"{path} must be a file, but is a folder; move it away") from None
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_once(path: Path, data: str | bytes, home: Path | None = None) -> bool:
    """Write `data` to `path` unless a file is there; whether this call was the one that wrote it.

    Of any number of writers, on one machine or on a shared file system, exactly one is told yes.
    Where a file system has no hard links (FAT, some network file systems), the name is taken by an
    empty file, which the whole one then replaces: readers there may find it empty for an instant,
    or for good if the writer died in it, and must take that for no content. `home` is as in
    `write_atomic`.

    Raises:
        FolderGoneError: `home` is not there.
    """
    home = home or path.parent
    partial = _partial(make_folder(path.parent, home) / path.name)
    try:
        with noticing_moves(home):
            _write_through(partial, data)
        try:
            os.link(partial, path)
        except FileExistsError:
            # A network file system may have done it and lost its answer on the first try.
            return partial.stat().st_nlink > 1
        except OSError as error:
            if error.errno not in _NO_HARD_LINKS:
                raise
            return _replace_nothing(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def has_hard_links(folder: Path, home: Path) -> bool:
    """Whether files in a folder, which is made if need be, can have two names.

    `home` holds it, and must be there.

    Raises:
        FolderGoneError: `home` is not there.
        OSError: nothing can be written in the folder.
    """
    make_folder(folder, home)
    one, other = (_partial(folder / "links") for _ in range(2))
    try:
        one.touch()
        os.link(one, other)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    finally:
        for file in (one, other):
            file.unlink(missing_ok=True)
    return True


def share_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot.

    Only for files that are replaced as a whole and never written into.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        shutil.copyfile(source, target)


@contextmanager
def noticing_moves(home: Path) -> Iterator[None]:
    """Say of a file that is missing inside that all of `home` is gone, where it is.

    Raises:
        FolderGoneError: in place of `FileNotFoundError`.
    """
    try:
        yield
    except FileNotFoundError as error:
        if home.is_dir():
            raise
        raise FolderGoneError(home) from error


def _replace_nothing(partial: Path, path: Path) -> bool:
    """Give a file a name that none has, without hard links; whether the name was free."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileExistsError:
        return False
    try:
        partial.replace(path)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")


def _write_through(partial: Path, data: str | bytes | Iterable[bytes | memoryview]) -> None:
    text = data.encode() if isinstance(data, str) else data
    with partial.open("wb") as stream:
        stream.writelines([text] if isinstance(text, bytes) else text)
        stream.flush()
        os.fsync(stream.fileno())
