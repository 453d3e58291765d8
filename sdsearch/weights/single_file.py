"""A pipeline as one file in the original layout: UNet, autoencoder and text encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdsearch.errors import WorkError
from sdsearch.original import PREFIXES, Move, Renaming, name_text, name_unet, name_vae
from sdsearch.weights.writing import METADATA, write_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor


def write_single_file(
    file: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    *,
    open_clip: bool,
    half: bool = True,
    said: Mapping[str, str] | None = None,
) -> None:
    """Write the tensors of three parts under their original names, one tensor at a time.

    Whether importers read the UNet as what it is, `space.why_not_loaded` says.

    Args:
        file: must not exist.
        parts: the tensors of "unet", "vae" and "text_encoder", by diffusers' names.
        open_clip: whether the text encoder is that of SD 2.x.
        half: store float16; else every tensor in the precision that it has.
        said: what the header says beside the tensors.

    Raises:
        InputError: a tensor has no place in the layout.
        WorkError: an attention block of depth 0 is no identity, or a value overflows float16.
    """
    unet = name_unet(parts["unet"])
    check_identities(parts["unet"], unet)
    renamings = {
        "unet": unet,
        "vae": name_vae(parts["vae"]),
        "text_encoder": name_text(parts["text_encoder"], open_clip=open_clip),
    }
    moved = {
        PREFIXES[part] + move.original: (parts[part], move)
        for part, renaming in renamings.items()
        for move in renaming.moves
    }
    write_tensors(file, MovedTensors(moved), half=half, said={**METADATA, **(said or {})})


def check_identities(tensors: Mapping[str, Tensor], renaming: Renaming) -> None:
    """Refuse to leave out an attention block that changes anything.

    Raises:
        WorkError: the `proj_out` of one is not zero.
    """
    for name in renaming.left_out:
        if ".proj_out." in name and torch.count_nonzero(tensors[name]):
            raise WorkError(
                f"an attention block of depth 0 must be an identity to be left out, but {name} is "
                "not zero; recover the design again"
            )


@dataclass(frozen=True)
class MovedTensors(Mapping[str, "Tensor"]):
    """Tensors by their original names, each made of diffusers' when it is looked up.

    Attributes:
        sources: by the original name, the tensors of a part and what is moved of them.
    """

    sources: Mapping[str, tuple[Mapping[str, Tensor], Move]]

    def __getitem__(self, name: str) -> Tensor:
        tensors, move = self.sources[name]
        found = [tensors[one] for one in move.diffusers]
        whole = found[0] if len(found) == 1 else torch.cat(found)
        return whole.reshape(*whole.shape[:2], 1, 1) if move.kernel else whole

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)
