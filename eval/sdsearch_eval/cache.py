"""A content-addressed cache of tensors that all architectures of a study share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.files import UNSEALED, DamagedFileError, read_sealed, write_sealed
from sdsearch.keys import content_key
from sdsearch_eval.devices import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TensorCache:
    """Named groups of tensors under one folder per content: a stale entry cannot be met.

    `content` names all that may change a value: protocol, teacher, manifest, extractor.
    """

    folder: Path
    content: dict[str, Any]

    def get(
        self, name: str, make: Callable[[], dict[str, Tensor]], device: torch.device = HOST
    ) -> dict[str, Tensor]:
        """The tensors called `name` on a device, read from disk, or made and written.

        What is damaged on disk is made again, with a warning.
        """
        from safetensors.torch import load, save

        path = self._path(name)
        if path.is_file():
            try:
                return _own(load(read_sealed(path)), device)
            except DamagedFileError as error:
                say(f"{error}; it is made again")
        tensors = {key: tensor.detach().contiguous() for key, tensor in make().items()}
        write_sealed(path, save(tensors, metadata=dict(UNSEALED)), self.folder.parent)
        # Read back, so that a first run computes with the very same memory layout as a later one.
        return _own(load(read_sealed(path)), device)

    def holds(self, name: str) -> bool:
        """Whether the tensors called `name` are on disk."""
        return self._path(name).is_file()

    def _path(self, name: str) -> Path:
        return self.folder / content_key(self.content) / f"{name}.safetensors"


def _own(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Own, aligned memory: kernels pick their path by alignment, which moves values by 1e-6."""
    return {name: tensor.to(device, copy=True) for name, tensor in tensors.items()}
