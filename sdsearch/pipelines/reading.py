"""Reading a file of a pipeline: whole and its own, or an error that names it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 64_000_000
"""Bytes of a JSON file that is read: that of a large tokenizer has a few million."""
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: the file is missing, no JSON, nested too deeply, too large, or holds no object.
    """
    check_pulled(file)
    try:
        if (size := file.stat().st_size) > _LARGEST:
            raise InputError(
                f"{file} must be JSON of at most {_LARGEST:,} bytes, but has {size:,}; is it the "
                "file that save_pretrained wrote?"
            )
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} must be readable JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{file} must hold a JSON object, as save_pretrained writes it")
    return found


def check_pulled(file: Path) -> None:
    """Refuse what git-lfs leaves in place of a large file until that is pulled.

    Raises:
        InputError: it is such a pointer. What cannot be read is left to whoever reads it.
    """
    try:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return
    if is_pointer:
        raise InputError(
            f"{file} must be the file itself, but is a pointer of git-lfs; install git-lfs and run "
            f"git lfs pull in {file.parent}"
        )
