"""Backbone: the facts of an unpruned four-level UNet of the Stable Diffusion v1.4 family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, ValidationError, model_validator

from sdsearch.errors import FieldError, InputError
from sdsearch.model import FrozenModel
from sdsearch.pipelines import explain_field

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = 4
PAINT_CHANNELS, INPAINT_CHANNELS = 4, 9
_UNPRUNED: dict[str, tuple[Any, ...]] = {
    "down_block_types": (["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],),
    "up_block_types": (["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "layers_per_block": (2, [2, 2, 2, 2]),
    "transformer_layers_per_block": (1, [1, 1, 1, 1]),
    "reverse_transformer_layers_per_block": (None, [1, 1, 1, 1]),
}
"""What the config of an unpruned UNet says about its blocks; the class's default comes first."""
_FAMILY: dict[str, tuple[Any, ...]] = {
    "_class_name": ("UNet2DConditionModel",),
    "num_attention_heads": (None,),
    "mid_block_only_cross_attention": (None, False),
    "encoder_hid_dim": (None,),
    "only_cross_attention": (False, [False] * 4, [False] * 3),
    "dual_cross_attention": (False, [False] * 4, [False] * 3),
    "class_embed_type": (None,),
    "addition_embed_type": (None,),
    "addition_time_embed_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "resnet_time_scale_shift": ("default",),
    "resnet_out_scale_factor": (1.0,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "time_cond_proj_dim": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "num_class_embeds": (None,),
    "projection_class_embeddings_input_dim": (None,),
    "center_input_sample": (False,),
    "act_fn": ("silu",),
    "downsample_padding": (1,),
    "mid_block_scale_factor": (1,),
    "resnet_skip_time_act": (False,),
    "cross_attention_norm": (None,),
    "class_embeddings_concat": (False,),
}
"""Config fields whose other values change the topology or the formulas of `cost`; class default
first. SDXL, 3D and video UNets differ from the family in at least one of them."""
_CHANNELS: tuple[tuple[str, tuple[int, ...], str], ...] = (
    (
        "in_channels",
        (PAINT_CHANNELS, INPAINT_CHANNELS),
        "latents alone, or latents 4, mask 1 and masked latents 4",
    ),
    ("out_channels", (4,), "one output for each channel of its latents"),
)
_CLASS_DEFAULTS = {"cross_attention_dim": 1280, "block_out_channels": [320, 640, 1280, 1280]}


class Backbone(FrozenModel):
    """Widths, heads, groups and channels of a teacher UNet, in diffusers' words.

    `attention_head_dim` is the number of heads, as the stock class reads it: one for all levels, or
    one per level from the highest resolution down. `from_config` reads that of any UNet of the
    family.

    >>> import sdsearch
    >>> sdsearch.Backbone.from_config({"block_out_channels": [64, 128, 256, 256]}).heads
    (8, 8, 8, 8)
    """

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
    def inpainting(self) -> Backbone:
        """The same with 9 input channels: mask and masked image beside the latents."""
        return self.model_copy(update={"in_channels": INPAINT_CHANNELS})

    @property
    def heads(self) -> tuple[int, int, int, int]:
        """Attention heads of levels 0 to 3."""
        heads = self.attention_head_dim
        return heads if isinstance(heads, tuple) else (heads, heads, heads, heads)

    @property
    def time_embed_dim(self) -> int:
        """Width of the time embedding: four times the width of level 0."""
        return 4 * self.block_out_channels[0]

    def with_widths(self, widths: tuple[int, int, int, int]) -> Self:
        """The same backbone with other channels per level; heads and norm groups keep their number.

        Raises:
            InputError: a width is no multiple of the norm groups or of the level's heads.
        """
        try:
            return self.model_validate({**self.model_dump(), "block_out_channels": widths})
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise InputError(f"the widths {widths} do not fit this backbone: {reason}") from error

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read the `unet/config.json` of an unpruned UNet; fine-tuned widths are welcome.

        Raises:
            FieldError: a field has a value outside the SD v1.4 family.
            InputError: the facts do not fit each other.
        """
        config = plain_config(config)
        check_family(config)
        _check_fields(config, _UNPRUNED)
        facts = _CLASS_DEFAULTS | config
        known = {name: facts[name] for name in cls.model_fields if facts.get(name) is not None}
        try:
            return cls.model_validate(known)
        except ValueError as error:
            raise InputError(
                f"this UNet config is not an SD v1.4-family backbone: {error}"
            ) from error


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as JSON holds it: lists where a live module's config has tuples."""

    def plain(value: Any) -> Any:
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    return {name: plain(value) for name, value in config.items()}


def check_family(config: Mapping[str, Any]) -> None:
    """Refuse the config of another family (SDXL, 3D, video, ...), pruned or not.

    Raises:
        FieldError: the first field that is not supported.
    """
    _check_fields(config, _FAMILY)
    for field, wanted, what in _CHANNELS:
        if (value := config.get(field, 4)) not in wanted:
            said = " or ".join(map(str, wanted))
            raise FieldError(field, value, said, f"a UNet of the family has {what}")


def _check_fields(config: Mapping[str, Any], fields: Mapping[str, tuple[Any, ...]]) -> None:
    for field, supported in fields.items():
        value = config.get(field, supported[0])
        if value not in supported:
            next_step = explain_field(field) or (
                "only four-level UNets of the Stable Diffusion v1 and v2 family are supported"
            )
            raise FieldError(field, value, repr(supported[0]), next_step)


SD14 = Backbone(block_out_channels=(320, 640, 1280, 1280))
SD14_INPAINT = SD14.model_copy(update={"in_channels": 9})
SD2 = SD14.model_copy(
    update={
        "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024,
        "use_linear_projection": True,
    }
)
SD2_INPAINT = SD2.model_copy(update={"in_channels": 9})
SD21 = SD2.model_copy(update={"sample_size": 96, "upcast_attention": True})
TINY = Backbone(
    block_out_channels=(32, 64, 64, 64),
    attention_head_dim=2,
    norm_num_groups=8,
    cross_attention_dim=64,
    in_channels=9,
    sample_size=16,
)
PRESETS = {
    "sd14": SD14,
    "sd14-inpaint": SD14_INPAINT,
    "sd2": SD2,
    "sd2-inpaint": SD2_INPAINT,
    "sd21": SD21,
    "tiny": TINY,
}
"""The UNets of Stable Diffusion v1.4 and v1.5, of 2.0 and 2.1-base, of 2.1 at 768 px, the tiny."""
