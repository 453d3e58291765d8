"""The note beside kept weights: what they were made from, and the hash of their file.

The file of the weights says nothing of it, so that an export may share it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.files import check_file, read_json_bytes, write_atomic
from sdsearch.keys import file_sha256
from sdsearch.model import SealedModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class WeightNote(SealedModel):
    """What weights were made from, and the SHA-256 of their file."""

    origin: str
    sha256: str


def write_noted(weights: Path, data: bytes, origin: str) -> None:
    """Write the bytes of a file of weights, and its note.

    The folder is made, but none around it.
    """
    forget_note(weights)
    write_atomic(weights, data, weights.parent.parent)
    note = WeightNote(origin=origin, sha256=hashlib.sha256(data).hexdigest())
    write_atomic(_note(weights), note.to_json() + "\n")


def rename_noted(made: Path, weights: Path) -> None:
    """Give weights and their note the name of others, which they replace."""
    forget_note(weights)
    made.replace(weights)
    _note(made).replace(_note(weights))


def forget_note(weights: Path) -> None:
    """Remove the note of weights, if there is one: without it they are made again."""
    _note(weights).unlink(missing_ok=True)


def origin_of(weights: Path, sha256: Callable[[Path], str] = file_sha256) -> str | None:
    """What weights were made from; None where they are missing, or not as they were noted.

    `sha256` hashes the file, all of which is read.
    """
    try:
        check_file(weights)
        note = WeightNote.model_validate_json(read_json_bytes(_note(weights)))
        return note.origin if sha256(weights) == note.sha256 else None
    except (InputError, FileNotFoundError, ValidationError):
        return None


def _note(weights: Path) -> Path:
    return weights.with_suffix(".of")
