"""Files: written whole or not at all, and read as editors leave them."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

_NO_HARD_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def check_no_folder(field: str, word: str, meaning: str, marker: str = "") -> None:
    """Refuse a word with a meaning of its own that names a folder here too.

    `marker` is what the folder must hold to be meant.

    Raises:
        InputError: there is such a folder in the current one; both readings are named.
    """
    if Path(word).is_dir() and Path(word, marker).exists():
        raise InputError(
            f"{field} must have one meaning, but {word!r} is {meaning}, and there is a folder "
            f"{Path.cwd() / word} too; write './{word}' for the folder, or rename the folder "
            f"for {meaning}"
        )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file as any editor may have left it.

    A byte order mark is dropped, and every line ends in a newline alone.

    Raises:
        OSError: the file cannot be read.
        InputError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, but byte {error.start} is not; save it as UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without their ends; see `read_text`.

    Only newlines end a line: JSON may hold other separators, on which `str.splitlines` would cut.
    """
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []


def check_output(out: Path, inputs: Iterable[Path], option: str) -> None:
    """Refuse to write where files are read: what is written would be one of them the next time.

    Args:
        out: the file that is to be written.
        inputs: files that are read, and folders of which every file may be.
        option: by which the user says where it goes.

    Raises:
        InputError: `out` is one of the files, or lies in one of the folders at any depth.
    """
    whole = out.resolve()
    for one in inputs:
        place = one.resolve()
        if place == whole or place in whole.parents:
            raise InputError(
                f"outputs must lie outside of what is read, but {out} would be written "
                f"{'over' if place == whole else 'into'} {one}; name another place with {option}"
            )


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` to `path` so that no reader, and no crash, ever sees half of it.

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


def _write_through(partial: Path, data: str | bytes) -> None:
    with partial.open("wb") as stream:
        stream.write(data.encode() if isinstance(data, str) else data)
        stream.flush()
        os.fsync(stream.fileno())
