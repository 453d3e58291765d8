"""The gate that every pipeline passes: sound types, a UNet of the family, parts that fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr, ValidationError

from sdsearch.errors import FieldError, InputError
from sdsearch.pipelines import find_distilled, read_json
from sdsearch.unet.backbone import check_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sdsearch.pipelines import PipelineFolder

_SIZE = 64
"""Of Stable Diffusion v1, whose first configs do not say it."""
_Width = Annotated[StrictInt, Field(ge=1, le=1 << 16)]
_Depth = Annotated[StrictInt, Field(ge=0, le=64)]
_Levels = Field(max_length=16)
_Widths = Annotated[list[_Width], _Levels]
_Depths = Annotated[list[_Depth | Annotated[list[_Depth], _Levels]], _Levels]
_Names = Annotated[list[StrictStr], _Levels]
_ABSENT: Any = None
"""Of a field that may be left out, but never be null."""


class _UNetFields(BaseModel):
    """The types of the fields that differ within the family; the others have fixed values.

    Bounds are far beyond any UNet: they keep a config from asking for endless memory.
    """

    model_config = ConfigDict(extra="allow")

    block_out_channels: _Widths = _ABSENT
    down_block_types: _Names = _ABSENT
    up_block_types: _Names = _ABSENT
    mid_block_type: StrictStr | None = None
    layers_per_block: _Depth | Annotated[list[_Depth], _Levels] = _ABSENT
    transformer_layers_per_block: _Depth | _Depths = _ABSENT
    reverse_transformer_layers_per_block: _Depth | _Depths | None = None
    attention_head_dim: _Width | _Widths = _ABSENT
    num_attention_heads: _Width | _Widths | None = None
    norm_num_groups: _Width = _ABSENT
    norm_eps: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _ABSENT
    cross_attention_dim: _Width = _ABSENT
    in_channels: _Width = _ABSENT
    out_channels: _Width = _ABSENT
    sample_size: _Width | tuple[_Width, _Width] | None = None
    flip_sin_to_cos: StrictBool = _ABSENT
    freq_shift: StrictInt = _ABSENT
    use_linear_projection: StrictBool = _ABSENT
    upcast_attention: StrictBool = _ABSENT


def read_unet_config(file: Path) -> dict[str, Any]:
    """A `unet/config.json` with its fields as they are said, each of a type that it may have.

    Raises:
        InputError: the file is unreadable, or a field has another type or a size beyond all sense.
    """
    plain = read_json(file)
    if "_class_name" not in plain and not is_unet_config(plain):
        raise InputError(
            f"{file} must be the config of a UNet2DConditionModel, but has no field of one; save "
            "the UNet again with save_pretrained"
        )
    try:
        _UNetFields.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise InputError(
            f"{field} in {file} is {plain[field]!r}, which cannot be: {first['msg']}; is it the "
            "config of a UNet2DConditionModel?"
        ) from None
    size = plain.get("sample_size")
    if isinstance(size, list) and size[0] == size[1]:
        plain["sample_size"] = size[0]
    return plain


def is_unet_config(plain: Mapping[str, Any]) -> bool:
    """Whether a config says that it is a UNet's, by its class or else by any field."""
    if "_class_name" in plain:
        return "UNet" in str(plain["_class_name"])
    return any(field in plain for field in _UNetFields.model_fields)


def native_size(config: Mapping[str, Any]) -> int:
    """The side of the latents that a UNet was trained on, 64 where its config does not say.

    Raises:
        InputError: they were not square.
    """
    size = config.get("sample_size")
    if size is None:
        return _SIZE
    if not isinstance(size, int):
        raise FieldError("sample_size", size, "one number", "only square latents are supported")
    return size


def check_pipeline_family(pipeline: PipelineFolder) -> None:
    """Refuse a pipeline that is distilled, of another family, or of parts that do not fit.

    Raises:
        FieldError: the first field that stands against it.
        InputError: the UNet's config is unreadable.
    """
    config = read_unet_config(pipeline.folder / "unet" / "config.json")
    for distilled in find_distilled(pipeline.name, pipeline.index, config):
        raise distilled
    check_family(config)
    for _, error in find_misfits(pipeline.folder, config):
        raise error


def _scaling(folder: Path) -> Iterator[tuple[str, FieldError]]:
    """What stands against the factor by which latents are scaled, where the VAE says one."""
    file = folder / "vae" / "config.json"
    try:
        factor = read_json(file).get("scaling_factor", 1.0)
    except InputError:
        return
    is_number = isinstance(factor, int | float) and not isinstance(factor, bool)
    if not is_number or not 0 < factor < math.inf:
        wanted = "a finite number above 0"
        step = "take the vae of the UNet's own pipeline (SD v1 and v2 have 0.18215)"
        yield "scaling-factor", FieldError("vae/config.json: scaling_factor", factor, wanted, step)


def find_misfits(folder: Path, unet: Mapping[str, Any]) -> Iterator[tuple[str, FieldError]]:
    """What in the configs of a pipeline's parts does not fit its UNet's config.

    Yields:
        A stable code and the field, for each that would crash or paint noise. A config that cannot
        be read yields nothing: it is refused where its part is read.
    """
    latents = unet.get("out_channels", 4)
    context = unet.get("cross_attention_dim", 1280)
    facts = (
        ("text-width", "text_encoder", "hidden_size", 512, context, "the UNet's context width"),
        ("latent-channels", "vae", "latent_channels", 4, latents, "the UNet's out_channels"),
        ("image-channels", "vae", "in_channels", 3, 3, "those of RGB images"),
        ("image-channels", "vae", "out_channels", 3, 3, "those of RGB images"),
    )
    for code, part, field, default, wanted, whose in facts:
        try:
            value = read_json(folder / part / "config.json").get(field, default)
        except InputError:
            continue
        if value != wanted:
            where = f"{part}/config.json: {field}"
            step = f"take the {part} of the UNet's own pipeline"
            yield code, FieldError(where, value, f"{wanted}, {whose}", step)
    yield from _scaling(folder)
