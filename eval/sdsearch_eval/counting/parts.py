"""The parts of a teacher without their numbers: what they weigh, and what their passes need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from sdsearch.pipelines import find_config, read_json
from sdsearch.unet import TEXT_TOKENS, Backbone, teacher_backbone
from sdsearch_eval.counting.counts import META, Counted, count_pass

if TYPE_CHECKING:
    from sdsearch_eval.nets import Extractor


@dataclass(frozen=True, slots=True)
class Parts:
    """A teacher's UNet in words; autoencoder and text encoder as modules of meta tensors."""

    backbone: Backbone
    vae: Any
    text_encoder: Any

    @property
    def latent_factor(self) -> int:
        """Image pixels per latent pixel along one side."""
        return int(2 ** (len(self.vae.config.block_out_channels) - 1))

    @property
    def weights(self) -> dict[str, int]:
        """Bytes of what stays in memory beside any UNet, in float32."""
        return {
            "autoencoder": _weigh(self.vae),
            "text encoder": _weigh(self.text_encoder),
        }


@cache
def count_encode(parts: Parts, images: int, side: int, device: str) -> Counted:
    """Encoding images of `side` pixels to latents."""
    shape = (images, parts.vae.config.in_channels, side, side)
    return count_pass(parts.vae, lambda: parts.vae.encode(torch.empty(shape, device=META)), device)


@cache
def count_decode(parts: Parts, images: int, side: int, device: str) -> Counted:
    """Decoding latents to images of `side` pixels."""
    latent = side // parts.latent_factor
    shape = (images, parts.vae.config.latent_channels, latent, latent)
    return count_pass(parts.vae, lambda: parts.vae.decode(torch.empty(shape, device=META)), device)


@cache
def count_text(parts: Parts, captions: int, device: str) -> Counted:
    """Encoding captions, all at once."""
    net = parts.text_encoder
    length = min(TEXT_TOKENS, net.config.max_position_embeddings)
    words = torch.zeros(captions, length, dtype=torch.int64, device=META)
    return count_pass(net, lambda: net(words), device)


def read_parts(pipeline: str) -> Parts:
    """The parts of "tiny", a folder or a hub id, of which no weights are fetched or read.

    Raises:
        InputError: a config cannot be had, or is of another family.
    """
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    vae = read_json(find_config(pipeline, "vae"))
    text = CLIPTextConfig.from_dict(read_json(find_config(pipeline, "text_encoder")))
    with torch.device(META):
        return Parts(
            backbone=teacher_backbone(pipeline),
            vae=getattr(diffusers, vae["_class_name"]).from_config(vae).eval(),
            text_encoder=CLIPTextModel(text).eval(),
        )


def count_features(extractor: Extractor, images: int, side: int, size: int, device: str) -> Counted:
    """Features of images of `side` pixels; the extractor's net is moved to meta tensors."""
    net = extractor.net.to(META)
    return count_pass(
        net,
        lambda: net(extractor.prepare(torch.empty(images, 3, side, side, device=META), size)),
        device,
    )


def _weigh(module: torch.nn.Module) -> int:
    return sum(x.numel() * x.element_size() for x in [*module.parameters(), *module.buffers()])
