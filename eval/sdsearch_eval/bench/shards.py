"""Shards: the rows of one architecture, a file for every block, whole or absent.

Whoever works on a block writes its file; who finds it does not work on it again. So the rows of an
architecture do not depend on how many processes there were, in which order, or how often they died.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdsearch.console import say
from sdsearch.files import UNSEALED, DamagedFileError, read_sealed, write_sealed
from sdsearch_eval.bench.rows import Rows, merge_rows

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Shards:
    """The files of one architecture under one protocol and seed, for `count` blocks."""

    folder: Path
    count: int

    def missing(self) -> list[int]:
        """The numbers of the blocks that nobody has finished, in order.

        Damaged ones count as missing; whoever works on their blocks writes them anew.
        """
        return [number for number in range(self.count) if not self._is_whole(number)]

    def write(self, number: int, rows: Rows) -> None:
        """Keep the rows of a block; the folder is made, but none around it."""
        from safetensors.torch import save

        tensors = {name: torch.from_numpy(row) for name, row in rows.items()}
        data = save(tensors, metadata=dict(UNSEALED))
        write_sealed(self._path(number), data, self.folder.parent)

    def read(self) -> Rows:
        """The rows of all blocks, in the order of the samples.

        Raises:
            DamagedFileError: a block is missing or its file is damaged.
        """
        return merge_rows([self._read(number) for number in range(self.count)])

    def _is_whole(self, number: int) -> bool:
        path = self._path(number)
        try:
            read_sealed(path)
        except FileNotFoundError:
            return False
        except DamagedFileError as error:
            say(f"{error}; its samples count as not measured")
            return False
        return True

    def _read(self, number: int) -> Rows:
        from safetensors.torch import load

        path = self._path(number)
        try:
            data = read_sealed(path)
        except FileNotFoundError:
            said = f"block {number} of {self.folder} is missing; label again"
            raise DamagedFileError(said) from None
        except DamagedFileError as error:
            raise DamagedFileError(f"{error}; label again to make it anew") from None
        return {name: tensor.numpy() for name, tensor in load(data).items()}

    def _path(self, number: int) -> Path:
        return self.folder / f"block-{number:05d}.safetensors"
