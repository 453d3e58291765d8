"""What can be wrong with a UNet's config alone, most of which diffusers loads silently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.check.problems import Problem
from sdsearch.errors import FieldError
from sdsearch.unet import check_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdsearch.unet import Backbone

_LISTS = (
    "down_block_types",
    "up_block_types",
    "layers_per_block",
    "attention_head_dim",
    "transformer_layers_per_block",
    "reverse_transformer_layers_per_block",
    "only_cross_attention",
)
_FACTS: dict[str, Any] = {
    "cross_attention_dim": 1280,
    "use_linear_projection": False,
    "norm_eps": 1e-5,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "out_channels": 4,
}
_REBUILD = "write the config first, build the UNet from it, then load weights"


def check_config(
    config: Mapping[str, Any], backbone: Backbone | None, *, named: bool
) -> list[Problem]:
    """Problems of a config by itself and against a backbone.

    `named` says that the user named the backbone; else it is a preset that has the same widths.
    """
    problems = [*_family(config), *_lengths(config), *_divisors(config)]
    if backbone is not None:
        problems += _facts(config, backbone, named=named)
    return problems


def _family(config: Mapping[str, Any]) -> Iterator[Problem]:
    if config.get("num_attention_heads") is not None:
        yield Problem(
            code="num-attention-heads",
            where="num_attention_heads",
            found=repr(config["num_attention_heads"]),
            wanted="absent: the class raises on it",
            next_step="say the number of heads as attention_head_dim",
        )
        return
    try:
        check_family(config)
    except FieldError as error:
        yield Problem(
            code="unsupported-field",
            where=error.field,
            found=repr(error.value),
            wanted=error.wanted,
            next_step=error.next_step,
        )


def _lengths(config: Mapping[str, Any]) -> Iterator[Problem]:
    stages = count_levels(config)
    for name in _LISTS:
        value = config.get(name)
        if isinstance(value, list) and len(value) != stages:
            yield Problem(
                code="list-length",
                where=name,
                found=f"{value!r}, {len(value)} entries",
                wanted=f"{stages} entries, one for each of block_out_channels",
                next_step=_REBUILD,
            )
    depths = config.get("transformer_layers_per_block")
    nested = isinstance(depths, list) and any(isinstance(depth, list) for depth in depths)
    if nested and config.get("reverse_transformer_layers_per_block") is None:
        yield Problem(
            code="nested-depths",
            where="reverse_transformer_layers_per_block",
            found="absent",
            wanted="the decoder's depths, as transformer_layers_per_block is nested",
            next_step=_REBUILD,
        )


def _divisors(config: Mapping[str, Any]) -> Iterator[Problem]:
    widths = config.get("block_out_channels", [])
    groups = config.get("norm_num_groups", 32)
    heads = _per_level(config, "attention_head_dim", 8)
    for level, width in enumerate(widths):
        for name, divisor in (("norm_num_groups", groups), ("attention_head_dim", heads[level])):
            if isinstance(divisor, int) and divisor > 0 and width % divisor:
                yield Problem(
                    code="width-divisor",
                    where=f"block_out_channels[{level}]",
                    found=str(width),
                    wanted=f"a multiple of {name} = {divisor}",
                    next_step="choose another width: heads would be cut off in silence",
                )


def _facts(config: Mapping[str, Any], backbone: Backbone, *, named: bool) -> Iterator[Problem]:
    whose = "the teacher's" if named else "that of the known UNet of these widths,"
    silent = "the weights load silently and compute something else: take the config of the teacher"
    stages = count_levels(config)
    heads = _per_level(config, "attention_head_dim", 8)
    wanted = list(backbone.heads[:stages])
    if len(heads) == stages and heads != wanted:
        yield Problem(
            code="head-count",
            where="attention_head_dim (the number of heads)",
            found=repr(config.get("attention_head_dim", 8)),
            wanted=f"{whose} {wanted}",
            next_step=silent,
        )
    groups = config.get("norm_num_groups", 32)
    if groups != backbone.norm_num_groups:
        yield Problem(
            code="norm-groups",
            where="norm_num_groups",
            found=repr(groups),
            wanted=f"{whose} {backbone.norm_num_groups}",
            next_step=silent,
        )
    for name, default in _FACTS.items():
        value, fact = config.get(name, default), getattr(backbone, name)
        if value != fact:
            yield Problem(
                code="teacher-fact",
                where=name,
                found=repr(value),
                wanted=f"{whose} {fact!r}",
                next_step="take the config of the teacher",
            )


def _per_level(config: Mapping[str, Any], name: str, default: Any) -> list[Any]:
    value, stages = config.get(name, default), count_levels(config)
    if isinstance(value, list):
        return value + [None] * (stages - len(value))
    return [value] * stages


def count_levels(config: Mapping[str, Any]) -> int:
    """The number of levels that a UNet config says, diffusers' default if it says none."""
    return len(config.get("block_out_channels", range(4)))
