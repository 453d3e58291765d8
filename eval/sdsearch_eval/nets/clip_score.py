"""How well a picture fits its caption: torchmetrics' CLIPScore, by a CLIP in a local folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sdsearch.errors import InputError
from sdsearch_eval.nets.clip import load_clip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_NEEDED = ("config.json", "model.safetensors", "preprocessor_config.json")
_FILES = (*_NEEDED, "vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")


def clip_files(folder: Path) -> tuple[Path, ...]:
    """The files of a CLIP that decide a score, in order.

    Raises:
        InputError: one that is needed is missing; nothing is downloaded.
    """
    lacking = [name for name in _NEEDED if not (folder / name).is_file()]
    if lacking:
        raise InputError(
            f"clip_score needs a whole CLIP of transformers (such as openai/clip-vit-base-patch16, "
            f"saved with its processor) in a folder, but {str(folder)!r} lacks "
            f"{', '.join(lacking)}; nothing is downloaded: save it there, or leave clip_score out"
        )
    return tuple(folder / name for name in _FILES if (folder / name).is_file())


class _Towers(nn.Module):
    """A CLIP whose features are tensors, as torchmetrics expects of any release of transformers."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        from transformers import CLIPModel

        self.model = load_clip(CLIPModel, folder)
        self.model.eval().requires_grad_(False)
        self.config = self.model.config

    def get_image_features(self, pixels: Tensor) -> Tensor:
        """(n, width) projected features of prepared pictures."""
        return _pooled(self.model.get_image_features(pixels))

    def get_text_features(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(n, width) projected features of texts."""
        return _pooled(self.model.get_text_features(tokens, mask))


def _pooled(found: Any) -> Tensor:
    features: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return features


class _Processor:
    """A processor that cuts texts before their last token: without it CLIP reads their first."""

    def __init__(self, folder: Path, longest: int) -> None:
        from transformers import CLIPProcessor

        self._processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
        self._longest = longest

    def __call__(self, text: Any = None, **options: Any) -> Any:
        """What the towers take of texts or of images."""
        if text is None:
            return self._processor(**options)
        cut = {"truncation": True, "max_length": self._longest}
        return self._processor(text=text, **{**options, **cut})


class ClipScore:
    """100 times the cosine between the embeddings of a picture and its caption, at least 0.

    As `torchmetrics.multimodal.CLIPScore` has it (Hessel et al. 2021, without the factor 2.5);
    captions are cut at the tokens that CLIP takes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        from torchmetrics.multimodal import CLIPScore

        clip_files(folder)

        def load() -> tuple[Any, Any]:
            towers = _Towers(folder)
            return towers, _Processor(folder, towers.config.text_config.max_position_embeddings)

        self._metric = CLIPScore(load).to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8], captions: Sequence[str]) -> NDArray[np.float64]:
        """(n,) scores of (n, H, W, 3) images."""
        return np.array([self._score(*pair) for pair in zip(images, captions, strict=True)])

    def _score(self, image: NDArray[np.uint8], caption: str) -> float:
        pixels = torch.tensor(image).permute(2, 0, 1).to(self._device)
        self._metric.reset()
        self._metric.update(pixels[None], [caption])
        return float(self._metric.compute())
