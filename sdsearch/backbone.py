"""Backbone: the facts of an unpruned four-level UNet of the Stable Diffusion v1.4 family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = 4
LAYERS_PER_BLOCK = 2
_DOWN_TYPES = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
_UP_TYPES = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "down_block_types": (_DOWN_TYPES,),
    "up_block_types": (_UP_TYPES,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "layers_per_block": (2, [2, 2, 2, 2]),
    "transformer_layers_per_block": (1, [1, 1, 1, 1]),
    "reverse_transformer_layers_per_block": (None,),
    "num_attention_heads": (None,),
    "mid_block_only_cross_attention": (None, False),
    "encoder_hid_dim": (None,),
    "only_cross_attention": (False,),
    "dual_cross_attention": (False,),
    "class_embed_type": (None,),
    "addition_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "resnet_time_scale_shift": ("default",),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "timestep_post_act": (None,),
    "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "num_class_embeds": (None,),
    "center_input_sample": (False,),
    "act_fn": ("silu",),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1, 1.0),
    "resnet_skip_time_act": (False,),
    "cross_attention_norm": (None,),
    "class_embeddings_concat": (False,),
}
"""Config fields whose other values change the block topology or the formulas of `cost`."""


class Backbone(BaseModel):
    """Widths, heads, groups and channels of a teacher UNet, in diffusers' words.

    `attention_head_dim` is the number of heads, as the stock class reads it: one for all levels, or
    one per level from the highest resolution down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_out_channels: tuple[int, int, int, int]
    attention_head_dim: int | tuple[int, int, int, int] = 8
    norm_num_groups: int = Field(32, ge=1)
    cross_attention_dim: int = Field(768, ge=1)
    in_channels: int = Field(4, ge=1)
    out_channels: int = Field(4, ge=1)
    sample_size: int = Field(64, ge=1)
    use_linear_projection: bool = False
    upcast_attention: bool = False
    norm_eps: float = Field(1e-5, gt=0)
    flip_sin_to_cos: bool = True
    freq_shift: int = 0

    @model_validator(mode="after")
    def _widths_divide(self) -> Self:
        for level, (width, heads) in enumerate(
            zip(self.block_out_channels, self.heads, strict=True)
        ):
            for name, divisor in (("norm_num_groups", self.norm_num_groups), ("heads", heads)):
                if width % divisor:
                    raise ValueError(
                        f"level {level}: width must be a multiple of {name}, "
                        f"but {width} % {divisor} != 0"
                    )
        return self

    @property
    def heads(self) -> tuple[int, int, int, int]:
        """Attention heads of levels 0 to 3."""
        heads = self.attention_head_dim
        return heads if isinstance(heads, tuple) else (heads, heads, heads, heads)

    @property
    def time_embed_dim(self) -> int:
        """Width of the time embedding: four times the width of level 0."""
        return 4 * self.block_out_channels[0]

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read a teacher's `unet/config.json`.

        Raises:
            InputError: a field has a value outside the SD v1.4 family; the field is named.
        """
        for field, supported in _SUPPORTED.items():
            value = config.get(field, supported[0])
            value = list(value) if isinstance(value, tuple) else value
            if value not in supported:
                raise InputError(
                    f"a teacher UNet must have {field} = {supported[0]!r}, but it is {value!r}: "
                    "only unpruned four-level UNets of the Stable Diffusion v1 and v2 family are "
                    "supported"
                )
        known = {name: config[name] for name in cls.model_fields if config.get(name) is not None}
        try:
            return cls.model_validate(known)
        except ValueError as error:
            raise InputError(
                f"this UNet config is not an SD v1.4-family backbone: {error}"
            ) from error


SD14 = Backbone(block_out_channels=(320, 640, 1280, 1280))
SD14_INPAINT = SD14.model_copy(update={"in_channels": 9})
TINY = Backbone(
    block_out_channels=(32, 64, 96, 96),
    attention_head_dim=2,
    norm_num_groups=8,
    cross_attention_dim=64,
    in_channels=9,
    sample_size=16,
)
