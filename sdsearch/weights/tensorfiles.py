"""Safetensors files as a mapping that reads one tensor at a time, or straight into its place.

The library's own reader maps the file into memory, where every page that was touched stays counted
until the file is closed. This one holds nothing, and copies nothing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch

from sdsearch.errors import InputError
from sdsearch.files import TensorEntry, read_tensor_header
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
"""The precision that each word of the format means."""


class TensorFiles(Mapping[str, "Tensor"]):
    """The tensors of safetensors files, one or all shards, by name; each look-up reads a fresh one.

    Attributes:
        metadata: what each file says beside its tensors.

    Raises:
        InputError: a file is missing, cut short or no safetensors file, or a tensor is in two.
    """

    def __init__(self, *paths: Path) -> None:
        self._entries: dict[str, TensorEntry] = {}
        self.metadata: list[dict[str, str]] = []
        for path in paths:
            check_pulled(path)
            entries, said = read_tensor_header(path)
            if twice := self._entries.keys() & entries.keys():
                raise InputError(f"a tensor must be in one file, but {min(twice)!r} is in two")
            self._entries |= entries
            self.metadata.append(said)

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.empty(self.shape(name), dtype=self.dtype(name))
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
        return DTYPES[self._entries[name].dtype]

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
        return target.dtype == DTYPES[entry.dtype] and target.device.type == "cpu"

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
