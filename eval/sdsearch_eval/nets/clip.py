"""Features of a CLIP image tower in a local transformers folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdsearch.errors import InputError
from sdsearch.files import read_json
from sdsearch.weights import check_sizes
from sdsearch_eval.nets.features import Features, resize_antialiased

if TYPE_CHECKING:
    from pathlib import Path

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
"""The pixel statistics that every published CLIP was trained with."""
WEIGHTS = "model.safetensors"


def load_clip(kind: Any, folder: Path) -> Any:
    """A CLIP of a class of transformers, in float32, once its config asks for no more than any has.

    Raises:
        InputError: its files cannot be read.
    """
    file = folder / "config.json"
    check_sizes(read_json(file), str(file))
    try:
        return kind.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except Exception as error:  # noqa: BLE001 (whatever the class raises is the finding)
        raise InputError(f"{folder} must hold a CLIP of transformers, but: {error}") from None


class ClipFeatures(nn.Module):
    """Projected image embeddings; maps are the patch tokens at four depths of the tower."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPVisionModelWithProjection

        if not (folder / "config.json").is_file() or not (folder / WEIGHTS).is_file():
            raise InputError(
                f"extractor clip needs config.json and {WEIGHTS} of a transformers CLIP in "
                f"{folder}; write protocol.extractor = 'clip:FOLDER'"
            )
        self.tower = load_clip(CLIPVisionModelWithProjection, folder)
        self.side = int(self.tower.config.image_size)
        # Read as they are memory-mapped, weights would move values with their alignment.
        state = {name: tensor.clone() for name, tensor in self.tower.state_dict().items()}
        self.tower.load_state_dict(state, assign=True)

    def prepare(self, images: Tensor, size: int) -> Tensor:
        """(N, 3, H, W) in [0, 255] -> normalised, at the tower's own side, not the protocol's."""
        del size
        mean, deviation = (images.new_tensor(x).view(3, 1, 1) for x in (MEAN, DEVIATION))
        return (resize_antialiased(images, self.side) - mean) / deviation

    def forward(self, images: Tensor) -> Features:
        """Images are (N, 3, side, side), normalised."""
        found = self.tower(images, output_hidden_states=True)
        states = found.hidden_states
        grid = self.side // int(self.tower.config.patch_size)
        depths = [round((len(states) - 1) * quarter / 4) for quarter in (1, 2, 3, 4)]
        tokens = [states[depth][:, 1:] for depth in depths]
        maps = [t.transpose(1, 2).reshape(len(t), -1, grid, grid) for t in tokens]
        return Features(found.image_embeds, [F.normalize(m, dim=1, eps=1e-5) for m in maps])
