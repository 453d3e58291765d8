"""What a safetensors file says that it holds: names, precisions, shapes and places, no numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.files.reading import LARGEST_JSON, check_file, parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""Bytes of a number, by the format's own word for its precision."""
_LENGTH_BYTES = 8
_LONGEST_SIDE = 1 << 40  # of a tensor; one that is empty may claim anything else
_MOST_SIDES = 64  # as torch has it; the product of a million sides takes minutes


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where the bytes of a tensor lie.

    Attributes:
        path: of the file.
        dtype: its precision, in the format's own word.
        shape: its sides.
        start: the first of its bytes in the file.
        size: how many there are.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def read_tensor_header(path: Path) -> tuple[dict[str, TensorEntry], dict[str, str]]:
    """The tensors that a file says it holds, which fill it without a gap, and its metadata.

    Raises:
        InputError: it is missing, cut short or no safetensors file, or tensors share bytes.
    """
    total = check_file(path)
    try:
        with path.open("rb", buffering=0) as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(total - _LENGTH_BYTES, LARGEST_JSON):
                raise ValueError(f"its header would have {length} bytes")
            header = parse_json(stream.read(length), "its header")
        metadata = dict(header.pop("__metadata__", None) or {})
        data = _LENGTH_BYTES + length
        entries = {name: _parse_entry(path, data, name, said) for name, said in header.items()}
    except OSError as error:
        raise InputError(f"the weights must be at {path}, but: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no readable safetensors file: {error}") from None
    end = max((entry.start + entry.size for entry in entries.values()), default=data)
    if end != total:
        raise InputError(
            f"{path} must have {end} bytes, but has {total}: the file is "
            f"{'cut short' if total < end else 'longer than its tensors'}"
        )
    _check_extents(path, data, entries)
    return entries, metadata


def _parse_entry(path: Path, data: int, name: str, said: Mapping[str, Any]) -> TensorEntry:
    dtype, shape = said["dtype"], tuple(said["shape"])
    start, end = said["data_offsets"]
    if len(shape) > _MOST_SIDES:
        raise ValueError(f"{name!r} has {len(shape):,} sides")
    for number in (*shape, start, end):
        if type(number) is not int or not 0 <= number < _LONGEST_SIDE:
            raise ValueError(f"{name!r} has {str(number)[:20]} in place of a size")
    size = DTYPE_BYTES[dtype] * math.prod(shape)
    if end - start != size:
        raise ValueError(f"the extent of {name!r} is not that of its shape")
    return TensorEntry(path, dtype, shape, data + start, size)


def _check_extents(path: Path, data: int, entries: Mapping[str, TensorEntry]) -> None:
    """Refuse tensors that share bytes: together they could be read as more than there is."""
    end = data
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].size)):
        if entry.start != end:
            raise InputError(
                f"the tensors of {path} must lie side by side, but {name!r} "
                f"{'shares bytes with another' if entry.start < end else 'follows a gap'}; "
                "save them again"
            )
        end += entry.size
