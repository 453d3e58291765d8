"""Reading a file of a pipeline: whole and its own, or an error that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.files import check_file
from sdsearch.files import read_json as read_any_json

if TYPE_CHECKING:
    from pathlib import Path

_POINTER = b"version https://git-lfs.github.com/spec/"


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: the file is missing, no JSON, nested too deeply, too large, or holds no object.
    """
    check_pulled(file)
    return read_any_json(file)


def check_pulled(file: Path) -> None:
    """Refuse what git-lfs leaves in place of a large file until that is pulled.

    Raises:
        InputError: it is such a pointer, or no regular file that can be read.
    """
    check_file(file)
    try:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(_POINTER)) == _POINTER
    except OSError as error:
        raise InputError(f"{file} must be readable: {error.strerror}") from None
    if is_pointer:
        raise InputError(
            f"{file} must be the file itself, but is a pointer of git-lfs; install git-lfs and run "
            f"git lfs pull in {file.parent}"
        )
