"""Safetensors files as a mapping that reads one tensor at a time, or straight into its place.

The library's own reader maps the file into memory, where every page that was touched stays counted
until the file is closed. This one holds nothing, and copies nothing twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.errors import InputError
from sdsearch.files import LARGEST_JSON, check_file, parse_json
from sdsearch.pipelines import check_pulled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LENGTH_BYTES = 8
_LONGEST_SIDE = 1 << 40  # of a tensor; one that is empty may claim anything else
_MOST_SIDES = 64  # as torch has it; the product of a million sides takes minutes


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where the bytes of a tensor lie."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFiles(Mapping[str, "Tensor"]):
    """The tensors of safetensors files, one or all shards, by name; each look-up reads a fresh one.

    Attributes:
        metadata: what each file says beside its tensors.

    Raises:
        InputError: a file is missing, cut short or no safetensors file, or a tensor is in two.
    """

    def __init__(self, *paths: Path) -> None:
        self._entries: dict[str, _Entry] = {}
        self.metadata: list[dict[str, str]] = []
        for path in paths:
            entries, said = _read_header(path)
            if twice := self._entries.keys() & entries.keys():
                raise InputError(f"a tensor must be in one file, but {min(twice)!r} is in two")
            self._entries |= entries
            self.metadata.append(said)

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.empty(self.shape(name), dtype=self._entries[name].dtype)
        self.read_into(name, tensor)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, which is not read."""
        return self._entries[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """The precision in which a tensor is stored."""
        return self._entries[name].dtype

    def read_into(self, name: str, target: Tensor) -> None:
        """Read a tensor into `target`, which must be contiguous and of its shape.

        Another dtype or device is converted to through one copy of this tensor.
        """
        if self._is_direct(name, target):
            self._read(name, target)
        else:
            target.copy_(self[name])

    def read_many(self, wanted: Sequence[tuple[str, Tensor]]) -> None:
        """Read tensors into their targets, as many at a time as torch has threads.

        Those that need converting are read one after another, so that one copy exists at most.
        """
        direct = [pair for pair in wanted if self._is_direct(*pair)]
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            for _ in pool.map(lambda pair: self._read(*pair), direct):
                pass  # raises what a read raised
        for name, target in wanted:
            if not self._is_direct(name, target):
                target.copy_(self[name])

    def _is_direct(self, name: str, target: Tensor) -> bool:
        entry = self._entries[name]
        if tuple(target.shape) != entry.shape:
            raise ValueError(
                f"{name!r} has shape {entry.shape}, but the target {tuple(target.shape)}"
            )
        return target.dtype == entry.dtype and target.device.type == "cpu"

    def _read(self, name: str, target: Tensor) -> None:
        entry = self._entries[name]
        if entry.size == 0:
            return
        place = target.view(-1).view(torch.uint8).numpy().data
        with entry.path.open("rb", buffering=0) as stream:  # threads need a position each
            stream.seek(entry.start)
            done = 0
            while done < entry.size:
                read = stream.readinto(place[done:])
                if not read:
                    raise InputError(f"{entry.path} ends within {name!r}: the file is cut short")
                done += read


def _read_header(path: Path) -> tuple[dict[str, _Entry], dict[str, str]]:
    """The tensors that a file says it holds, which fill it without a gap, and its metadata."""
    check_pulled(path)
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


def _parse_entry(path: Path, data: int, name: str, said: Mapping[str, Any]) -> _Entry:
    dtype, shape = DTYPES[said["dtype"]], tuple(said["shape"])
    start, end = said["data_offsets"]
    if len(shape) > _MOST_SIDES:
        raise ValueError(f"{name!r} has {len(shape):,} sides")
    for number in (*shape, start, end):
        if type(number) is not int or not 0 <= number < _LONGEST_SIDE:
            raise ValueError(f"{name!r} has {str(number)[:20]} in place of a size")
    size = dtype.itemsize * math.prod(shape)
    if end - start != size:
        raise ValueError(f"the extent of {name!r} is not that of its shape")
    return _Entry(path, dtype, shape, data + start, size)


def _check_extents(path: Path, data: int, entries: Mapping[str, _Entry]) -> None:
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
