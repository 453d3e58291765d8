"""The door for files that others wrote: a regular file of bounded size, then one reader a format.

Whatever is wrong with a file is an `InputError` that names it: it is missing, a pipe or a folder,
too large, in another encoding, or not of its format. Sizes are looked at before anything is read,
and the parser of JSON, pydantic's own, refuses nesting without end and half surrogate pairs.
"""

from __future__ import annotations

import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_JSON = 8_000_000
"""Bytes of a file that says one thing: a config, a label, the index of shards."""
LARGEST_TEXT = 1_000_000_000
"""Bytes of a file that says something of each of many things, a line each."""
_BOM = b"\xef\xbb\xbf"
_ENDLESS = re.compile(rb"[0-9]{300}")
"""Digits of a number that is none to compute with: it would raise wherever that is tried."""


def check_file(path: Path, largest: int | None = None) -> int:
    """The size of a regular file; of a pipe or a device reading would never end.

    Raises:
        InputError: it is missing, no regular file, or has more bytes than `largest`.
    """
    try:
        found = path.stat()
    except (OSError, ValueError) as error:  # a NUL in a name is a ValueError
        raise InputError(f"{path} must be readable: {_reason(error)}") from None
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} must be a file, but is a folder, pipe or device; remove it")
    if largest is not None and found.st_size > largest:
        raise _too_large(path, largest)
    return found.st_size


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The bytes of a regular file.

    Raises:
        InputError: it is missing, no regular file, or has more bytes than `largest`.
    """
    size = check_file(path, largest)
    try:
        with path.open("rb") as stream:
            data = stream.read(size + 1)  # which takes as much memory, whatever there is
            if len(data) > size:  # some files do not say their size
                data += stream.read(largest + 1 - len(data))
    except OSError as error:
        raise InputError(f"{path} must be readable: {_reason(error)}") from None
    if len(data) > largest:
        raise _too_large(path, largest)
    return data


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The text of a UTF-8 file as any editor may have left it.

    A byte order mark is dropped, and every line ends in a newline alone.

    Raises:
        InputError: it is no regular file of at most `largest` bytes, or no UTF-8.
    """
    try:
        text = read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, but byte {error.start} is not; save it as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        InputError: it is no regular file of a sane size, no UTF-8, or no TOML.
    """
    text = read_text(path, LARGEST_JSON)
    _check_numbers(text.encode(), str(path))
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # tables too deep
        raise InputError(f"{path} must be valid TOML: {error}") from None


def read_json(path: Path, largest: int = LARGEST_JSON) -> dict[str, Any]:
    """The JSON object in a file.

    Numbers may be NaN or infinite, as diffusers writes them: who reads a field says what it may be.

    Raises:
        InputError: it is no regular file of at most `largest` bytes, no JSON, or no object.
    """
    found = parse_json(read_json_bytes(path, largest), str(path))
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object, as save_pretrained writes it")
    return found


def read_json_bytes(path: Path, largest: int = LARGEST_JSON) -> bytes:
    """The bytes of a JSON file for a model to validate: nothing of it is built yet.

    Raises:
        InputError: it is no regular file of at most `largest` bytes, or has an endless number.
    """
    data = read_bytes(path, largest)
    _check_numbers(data, str(path))
    return data


def read_json_lines(path: Path) -> list[bytes]:
    """The lines of a JSONL file, cut at newlines only, as JSON may hold any other separator.

    Raises:
        InputError: it is no regular file of a sane size, or has an endless number.
    """
    data = read_json_bytes(path, LARGEST_TEXT).removeprefix(_BOM)
    return data.removesuffix(b"\n").split(b"\n") if data else []


def parse_json(data: bytes | str, where: str) -> Any:
    """The value that JSON says; `where` is what errors call it.

    Raises:
        InputError: it is no JSON, nested too deeply, or holds half a surrogate pair.
    """
    try:
        return from_json(data)
    except ValueError as error:
        raise InputError(f"{where} must be readable JSON: {error}") from None


def _check_numbers(data: bytes, where: str) -> None:
    if found := _ENDLESS.search(data):
        line = data.count(b"\n", 0, found.start()) + 1
        raise InputError(f"{where}, line {line}, has a number of 300 digits or more; mend it")


def _too_large(path: Path, largest: int) -> InputError:
    return InputError(
        f"{path} must have at most {largest:,} bytes, but has more; is it the right file?"
    )


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
