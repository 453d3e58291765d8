"""Sealed files: safetensors whose header holds the SHA-256 of all else, and others that end in it.

Any reader of their format reads them. A bit that has flipped on a disk is noticed at reading,
before it moves a value.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from sdsearch.errors import WorkError
from sdsearch.files.writing import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_DIGITS = 64
_NO_SEAL = "0" * _DIGITS
UNSEALED: Mapping[str, str] = MappingProxyType({"sha256": _NO_SEAL})
"""The metadata to save a file with that will be sealed."""
_LENGTH = 8
"""Bytes at the start of a safetensors file, which say how long its header is."""
_PART = 1 << 20
"""Bytes of a large file that are read at once."""


class DamagedFileError(WorkError):
    """A file does not hold what was written to it."""


def write_sealed(path: Path, data: bytes, home: Path | None = None) -> None:
    """Seal the bytes of a safetensors file that has the metadata `UNSEALED`, and write it whole.

    `home` is as in `write_atomic`.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> import numpy as np
    >>> from safetensors.numpy import load, save
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "two.safetensors"
    ...     write_sealed(file, save({"two": np.full(1, 2.0)}, metadata=dict(UNSEALED)))
    ...     load(read_sealed(file))["two"].item()
    2.0
    """
    start = data.index(f'"{_NO_SEAL}"'.encode(), _LENGTH) + 1
    whole, end = memoryview(data), start + _DIGITS
    write_atomic(path, (whole[:start], _digest(data, start).encode(), whole[end:]), home)


def read_sealed(path: Path) -> bytes:
    """The bytes of a sealed file.

    Raises:
        OSError: it cannot be read.
        DamagedFileError: it has no seal, or another than its content.
    """
    with open_sealed(path) as file:
        data = file.read()
    try:
        length = int.from_bytes(data[:_LENGTH], "little")
        header = json.loads(data[_LENGTH : _LENGTH + length])
        seal = header["__metadata__"]["sha256"]
        start = data.index(f'"{seal}"'.encode(), _LENGTH) + 1
    except (ValueError, RecursionError, LookupError, TypeError, OverflowError):
        raise DamagedFileError(f"{path} is damaged: it must be a sealed safetensors file") from None
    if seal != _digest(data, start):
        raise DamagedFileError(f"{path} is damaged: its content is not what was written")
    return data


@dataclass(slots=True)
class SealingStream:
    """A stream that is written once from start to end, and knows the hash of what was."""

    file: BinaryIO
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data`."""
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        """Nothing waits that the end of the block would not write."""


@contextmanager
def writing_sealed(path: Path) -> Iterator[SealingStream]:
    """Write a file of any size and format, which ends in its SHA-256: whole, or not at all.

    Its format must allow for bytes at the end, as zip does. The name of what is half written is
    always the same, so that a large one is left by a killed process once at most.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "long.bin"
    ...     with writing_sealed(file) as stream:
    ...         _ = stream.write(b"many steps")
    ...     check_sealed(file)
    ...     file.read_bytes()[:10]
    b'many steps'
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            stream = SealingStream(file)
            yield stream
            file.write(stream.digest.digest())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_sealed(path: Path) -> None:
    """Read a file that was written by `writing_sealed` from start to end.

    Raises:
        OSError: it cannot be read.
        DamagedFileError: it does not end in the hash of all before.
    """
    found = hashlib.sha256()
    with open_sealed(path) as file:
        left = path.stat().st_size - found.digest_size
        while left > 0:
            part = file.read(min(left, _PART))
            found.update(part)
            left -= len(part)
        if left < 0 or file.read() != found.digest():
            raise DamagedFileError(f"{path} is damaged: its content is not what was written")


def open_sealed(path: Path) -> BinaryIO:
    """Open a file that is to be checked; a pipe in its place would never end.

    Raises:
        OSError: it cannot be opened.
        DamagedFileError: it is no file.
    """
    if path.exists() and not path.is_file():
        raise DamagedFileError(f"{path} is damaged: it must be a file, but is none; remove it")
    return path.open("rb")


def _digest(data: bytes, start: int) -> str:
    """The SHA-256 of a file with no seal in the place of that which begins at `start`."""
    whole = memoryview(data)
    found = hashlib.sha256(whole[:start])
    found.update(_NO_SEAL.encode())
    found.update(whole[start + _DIGITS :])
    return found.hexdigest()
