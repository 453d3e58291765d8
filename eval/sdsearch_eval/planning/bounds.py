"""A bound by formula: more memory than a study needs, said faster than it can be counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.pipelines import find_config, read_json
from sdsearch.study import read_backbone
from sdsearch.unet import TEXT_TOKENS, UNPRUNED, unet_cost
from sdsearch_eval.planning.phases import ENCODED

if TYPE_CHECKING:
    from sdsearch.study import StudyConfig

_NETS = 8
"""The teacher's UNet in float32 so often: teacher, student, gradients, moments, average, copies."""
_ACTIVATIONS = 20
"""What autograd keeps of a step, in peaks of a call without gradients."""
_PIXEL = 24
"""What an autoencoder holds of a pixel, in numbers for each channel of its second level."""
_TOKEN = 100
"""What a text encoder holds of a token, in numbers for each channel of its width."""


def bound_memory(config: StudyConfig) -> int:
    """Bytes that no stage of a study needs, on the device or for networks on the host.

    Tests hold it above the count. Where it fits, nothing has to be counted.
    """
    pipeline, protocol = config.teacher.pipeline, config.protocol
    backbone = read_backbone(config)
    vae = read_json(find_config(pipeline, "vae"))
    channels: list[int] = vae["block_out_channels"]
    recipes = [protocol.recovery, config.export.recovery]
    recipes += [config.teacher.tuning] if config.teacher.inpaint else []
    batches = [recipe.batch_size for recipe in recipes]
    images = max(2 * protocol.block_size, ENCODED, *batches)
    latent = protocol.resolution >> (len(channels) - 1)
    cost = unet_cost(UNPRUNED, backbone, latent, batch=images)
    pixels = images * protocol.resolution**2 * _PIXEL * max(channels[:2])
    tokens = protocol.samples * TEXT_TOKENS * _TOKEN * backbone.cross_attention_dim
    return 4 * (_NETS * cost.params + pixels + tokens) + _ACTIVATIONS * cost.activation_bytes
