"""For which family of models a LoRA seems to be made, from its names and the width of its text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

SECOND_TEXT = ("lora_te2_", "text_encoder_2.")
_SDXL = "Stable Diffusion XL"
_NAMES = (
    (re.compile(r"double_blocks|single_blocks|single_transformer_blocks"), "Flux"),
    (
        re.compile(r"joint_blocks|^transformer\.|^lora_transformer_|^diffusion_model\."),
        "a diffusion transformer, such as Stable Diffusion 3 or Flux",
    ),
    (
        re.compile(
            r"^lora_te2_|^text_encoder_2\.|label_emb|add_embedding|transformer_blocks[._][1-9]"
        ),
        _SDXL,
    ),
)
_CONTEXTS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: _SDXL}


def guess_family(keys: Collection[str], contexts: Collection[int] = ()) -> str | None:
    """The family as words, or None; `contexts` are the widths of text that its attentions read.

    >>> guess_family(["lora_unet_output_blocks_0_1_transformer_blocks_9_ff_net_2.lora_up.weight"])
    'Stable Diffusion XL'
    """
    for pattern, family in _NAMES:
        if any(pattern.search(key) for key in keys):
            return family
    return next((_CONTEXTS[width] for width in contexts if width in _CONTEXTS), None)
