"""Content keys: one short name for a value, the same in every process and Python version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY_DIGITS = 12
_SEAL = "seal"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks; NaN and infinity raise `ValueError`."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_key(value: Any) -> str:
    """The first 12 hex digits of the SHA-256 of `canonical_json(value)`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_DIGITS]


def with_seal(data: Mapping[str, Any]) -> dict[str, Any]:
    """JSON data with one more entry, the key of all others, by which damage is noticed.

    >>> without_seal(with_seal({"fd": 69.13}))
    {'fd': 69.13}
    """
    return {**data, _SEAL: content_key(data)}


def without_seal(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data that was sealed.

    Raises:
        ValueError: it has another seal than its content, or none.
    """
    rest = {name: value for name, value in data.items() if name != _SEAL}
    if data.get(_SEAL) != content_key(rest):
        raise ValueError("its content is not what its seal says: it was damaged or edited")
    return rest


def believe(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data without its seal; what has none was written before there were any, or by hand.

    Raises:
        ValueError: it has another seal than its content.
    """
    return without_seal(data) if _SEAL in data else data


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class FileHashes:
    """The SHA-256 of files, each read once as long as the system says that it is the same file.

    For what is large and looked at again and again, as a teacher is: for as long as a process, or
    an opened study, lives. A bit that flips on the disk meanwhile is noticed the next time.
    """

    known: dict[tuple[int, ...], str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """The SHA-256 of a file's bytes, 64 hex digits."""
        stat = path.stat()
        mark = stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
        if mark not in self.known:
            self.known[mark] = file_sha256(path)
        return self.known[mark]
