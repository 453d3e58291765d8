"""A safetensors file as a mapping that reads one tensor at a time, or straight into its place.

The library's own reader maps the file into memory, where every page that was touched stays counted
until the file is closed. This one holds nothing, and copies nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import torch

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000


class TensorFile(Mapping[str, "Tensor"]):
    """The tensors of a safetensors file by name; each look-up reads a fresh one.

    Use it as a context manager. Raises `InputError` for a file that is missing, cut short or no
    safetensors file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._stream = path.open("rb", buffering=0)
        except OSError as error:
            raise InputError(f"the weights must be at {path}, but: {error.strerror}") from None
        try:
            self._data_start, self._entries = self._read_header()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.empty(self.shape(name), dtype=self._entries[name][0])
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
        return self._entries[name][1]

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
        dtype, shape, _, _ = self._entries[name]
        if tuple(target.shape) != shape:
            raise ValueError(f"{name!r} has shape {shape}, but the target {tuple(target.shape)}")
        return target.dtype == dtype and target.device.type == "cpu"

    def _read(self, name: str, target: Tensor) -> None:
        _, _, start, size = self._entries[name]
        if size == 0:
            return
        place = target.view(-1).view(torch.uint8).numpy().data
        with self._path.open("rb", buffering=0) as stream:  # threads need a position each
            stream.seek(self._data_start + start)
            done = 0
            while done < size:
                read = stream.readinto(place[done:])
                if not read:
                    raise InputError(f"{self._path} ends within {name!r}: the file is cut short")
                done += read

    def _read_header(self) -> tuple[int, dict[str, tuple[torch.dtype, tuple[int, ...], int, int]]]:
        length = int.from_bytes(self._stream.read(_LENGTH_BYTES), "little")
        total = self._path.stat().st_size
        try:
            if not 0 < length <= min(total - _LENGTH_BYTES, _LONGEST_HEADER):
                raise ValueError(f"its header would have {length} bytes")
            header = json.loads(self._stream.read(length))
            header.pop("__metadata__", None)
            entries = {}
            for name, said in header.items():
                dtype, shape = _DTYPES[said["dtype"]], tuple(said["shape"])
                start, end = said["data_offsets"]
                size = dtype.itemsize
                for side in shape:
                    size *= side
                if not 0 <= start <= end or end - start != size:
                    raise ValueError(f"the extent of {name!r} is not that of its shape")
                entries[name] = dtype, shape, start, size
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self._path} is no readable safetensors file: {error}") from None
        start = _LENGTH_BYTES + length
        end = start + max((first + size for _, _, first, size in entries.values()), default=0)
        if end != total:
            raise InputError(
                f"{self._path} must have {end} bytes, but has {total}: the file is "
                f"{'cut short' if total < end else 'longer than its tensors'}"
            )
        return start, entries
