"""Storage: what each stage leaves on the disk of a study, in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.unet import TEXT_TOKENS, UNPRUNED, count_params
from sdsearch_eval.recovery import pool_size

if TYPE_CHECKING:
    from sdsearch.labels import LongRecovery
    from sdsearch.unet import Architecture
    from sdsearch_eval.planning.phases import Work

_ROW = 400
"""Of a sample in a label's rows, beside its features: some thirty numbers."""
_LATENT = 4
"""Channels of a latent; a mask adds one."""


@dataclass(frozen=True, slots=True)
class Storage:
    """Bytes on disk.

    Attributes:
        work: what the study does.
        pooled: numbers of an image's features in the extractor.
        maps: numbers of its feature maps.
        optional: bytes of the teacher's parts that only exports have, such as a safety checker.
    """

    work: Work
    pooled: int
    maps: int
    optional: int

    def shared(self) -> int:
        """Inputs, references, the teacher's latents, and every lesson of the short recovery."""
        protocol, cells = self.work.protocol, self.work.latent**2
        width = self.work.parts.backbone.cross_attention_dim
        task = 4 * ((2 * _LATENT + 1) * cells + 2 * TEXT_TOKENS * width)
        sample = 4 * (2 * _LATENT * cells + TEXT_TOKENS * width) + 8 * self.pooled
        if not protocol.paints_words:  # else all masks are one, and no maps are kept
            sample += 4 * (_LATENT + 1) * cells + 2 * self.maps
        recipe = protocol.recovery
        if not recipe.steps:
            return protocol.samples * sample
        pool = pool_size(protocol) * (task + 4 * _LATENT * cells)
        channels = self.work.parts.backbone.in_channels + 2 * _LATENT
        lesson = recipe.batch_size * 4 * (channels * cells + TEXT_TOKENS * width)
        return protocol.samples * sample + pool + recipe.steps * lesson

    def label(self) -> int:
        """The rows of a label, and itself."""
        return self.work.protocol.samples * (4 * self.pooled + _ROW) + 8192

    def weights(self, arch: Architecture) -> int:
        """What a design keeps until it is exported, in half where it is sampled in half."""
        size = 4 if self.work.protocol.dtype == "float32" else 2
        return size * count_params(arch, self.work.parts.backbone)

    def recovery(self, arch: Architecture) -> int:
        """The weights of a long recovery; its checkpoint is gone by then."""
        return 4 * count_params(arch, self.work.parts.backbone)

    def checkpoint(self, arch: Architecture) -> int:
        """What a long recovery needs besides while it runs: two checkpoints for a moment.

        Each holds weights, two moments and an average.
        """
        return self._checkpoints(arch, self.work.long)

    def tune(self, recipe: LongRecovery) -> int:
        """A tuned teacher: its folder, which shares its weights, and checkpoints for a moment."""
        weights = 4 * count_params(UNPRUNED, self.work.parts.backbone)
        folder = weights * 3 // 2 + self._others
        return folder + self._checkpoints(UNPRUNED, recipe)

    def _checkpoints(self, arch: Architecture, recipe: LongRecovery) -> int:
        copies = 3 + bool(recipe.ema)
        return 2 * 4 * copies * count_params(arch, self.work.parts.backbone)

    def export(self, arch: Architecture) -> int:
        """A pipeline's folder: every part in single and in half precision."""
        half = 2 * count_params(arch, self.work.parts.backbone)
        return self.weights(arch) + half + self._others

    @property
    def _others(self) -> int:
        """The parts beside the UNet, in single and in half precision."""
        return (sum(self.work.parts.weights.values()) + self.optional) * 3 // 2


def weigh_optional(pipeline: str) -> int:
    """Bytes of the weights of a local folder's safety checker and image encoder; else 0."""
    found = 0
    for part in ("safety_checker", "image_encoder"):
        sizes = [
            file.stat().st_size
            for suffix in ("safetensors", "bin")
            for file in (Path(pipeline) / part).glob(f"*.{suffix}")
            if "fp16" not in file.name
        ]
        found += max(sizes, default=0)
    return found
