"""What was made for the teacher: whether a ControlNet, an IP-Adapter or a LoRA fits its student.

Each is judged by the shapes that stock diffusers meets when it attaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.check.config import count_levels
from sdsearch.check.verdict import Verdict
from sdsearch.unet import SLOTS, UNPRUNED, member_backbone, student_path, unet_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.unet import Architecture, Backbone

_WIDTHS = [320, 640, 1280, 1280]
_MID = "UNetMidBlock2DCrossAttn"
_LORA_TENSORS = 16
"""Of one attention block: queries, keys, values and output of two attentions, each an A and a B."""
_CONTROLNET = "rule: shapes of the skips that ControlNetModel adds to"
_IP_ADAPTER = "rule: shapes in the running order of diffusers' IP-Adapter loader"
_LORA = "rule: modules by their place in the teacher, as docs/lora.md says"


def judge_controlnet(config: Mapping[str, Any], backbone: Backbone | None) -> Verdict:
    """Whether the residuals of a ControlNet of the teacher can be added to this UNet's skips."""
    if backbone is None:
        return _unknown(_CONTROLNET)
    theirs, mine = (skip_channels(one) for one in (unet_config(UNPRUNED, backbone), config))
    if len(theirs) != len(mine):
        from_unet = not isinstance(config.get("layers_per_block", 2), list)
        from_unet &= config.get("mid_block_type", _MID) is not None
        return Verdict(
            status="does not",
            why=f"a ControlNet gives {len(theirs)} skip residuals, this UNet takes {len(mine)}; "
            "train one of its own"
            + ("" if from_unet else ", which ControlNetModel.from_unet cannot begin from here"),
            basis=_CONTROLNET,
        )
    for number, (given, taken) in enumerate(zip(theirs, mine, strict=True), 1):
        if given != taken:
            return Verdict(
                status="does not",
                why=f"skip residual {number} of a ControlNet has {given} channels, this UNet's "
                f"skip {taken}",
                basis=_CONTROLNET,
            )
    why = f"it takes all {len(mine)} skip residuals and that of the mid"
    return Verdict(status="works", why=why, basis=_CONTROLNET)


def judge_ip_adapter(
    config: Mapping[str, Any], arch: Architecture | None, backbone: Backbone | None
) -> Verdict:
    """Whether each cross-attention meets the projections that were trained for it.

    diffusers gives them out by number in the running order, and leaves over what is at its end. So
    where one in the middle is gone, shapes may fit by chance, and others get its projections.
    """
    if backbone is None:
        return _unknown(_IP_ADAPTER)
    theirs, mine = (attention_channels(one) for one in (unet_config(UNPRUNED, backbone), config))
    shifted = len(mine) != len(theirs)
    if arch is not None:
        order = _running_order(UNPRUNED)
        shifted = (kept := _running_order(arch)) != order[: len(kept)]
    if shifted or not mine:
        return Verdict(
            status="does not",
            why=f"it is matched by running order over {len(theirs)} cross-attentions, and this "
            f"UNet has {len(mine)}",
            basis=_IP_ADAPTER,
        )
    for number, (given, taken) in enumerate(zip(theirs, mine, strict=False), 1):
        if given != taken:
            return Verdict(
                status="does not",
                why=f"its projection for cross-attention {number} has {given} channels, this "
                f"UNet's {taken}: a size mismatch when it is loaded",
                basis=_IP_ADAPTER,
            )
    if left := len(theirs) - len(mine):
        why = f"{len(mine)} cross-attentions are there, in order and as wide; the last {left} went"
        return Verdict(status="partly", why=why, basis=_IP_ADAPTER)
    why = f"all {len(mine)} cross-attentions are there, in order and as wide"
    return Verdict(status="works", why=why, basis=_IP_ADAPTER)


def judge_lora(arch: Architecture, backbone: Backbone) -> Verdict:
    """What is kept of a LoRA over all attentions of the teacher when it is cut for an export."""
    attentions = [slot for slot in SLOTS if slot.kind == "attn"]
    kept = [slot for slot in attentions if slot.name in arch.kept_slots]
    moved = [slot for slot in kept if student_path(slot, arch) != student_path(slot, UNPRUNED)]
    channels = member_backbone(arch, backbone).block_out_channels
    narrow = [
        slot for slot in kept if channels[slot.level] != backbone.block_out_channels[slot.level]
    ]
    total, left = len(attentions) * _LORA_TENSORS, len(kept) * _LORA_TENSORS
    if left == total and not moved and not narrow:
        why = f"all {total} tensors of its attentions fit as they are"
        return Verdict(status="works", why=why, basis=_LORA)
    changes = [
        *([f"{len(moved) * _LORA_TENSORS} of them renamed"] if moved else []),
        *([f"{len(narrow) * _LORA_TENSORS} of them cut narrower"] if narrow else []),
    ]
    lost = f"; {total - left} have lost their block" if left < total else ""
    return Verdict(
        status="partly" if left else "does not",
        why="cut for an export (docs/lora.md) it keeps "
        f"{', '.join([f'{left} of the {total} tensors of its attentions', *changes])}{lost}",
        basis=_LORA,
    )


def _running_order(arch: Architecture) -> list[str]:
    """The kept attentions as diffusers goes through them: encoder, decoder, mid."""
    kept = [slot for slot in SLOTS if slot.kind == "attn" and slot.name in arch.kept_slots]
    return [slot.name for slot in sorted(kept, key=lambda slot: slot.name.startswith("mid"))]


def skip_channels(config: Mapping[str, Any]) -> list[int]:
    """The channels of a UNet's skips in the order in which its encoder makes them."""
    widths, counts = config.get("block_out_channels", _WIDTHS), _counts(config)
    skips = [widths[0]]
    for level, (width, count) in enumerate(zip(widths, counts, strict=True)):
        skips += [width] * (count + (level < len(widths) - 1))
    return skips


def attention_channels(config: Mapping[str, Any]) -> list[int]:
    """The channels of a UNet's cross-attentions in the running order: encoder, decoder, mid."""
    widths = config.get("block_out_channels", _WIDTHS)
    return [widths[level] for level in attention_levels(config)]


def attention_levels(config: Mapping[str, Any]) -> list[int]:
    """The levels of a UNet's cross-attentions in the running order: encoder, decoder, mid."""
    counts, levels = _counts(config), list(range(count_levels(config)))
    depths = config.get("transformer_layers_per_block", 1)
    down = depths if isinstance(depths, list) else [depths] * len(levels)
    up = config.get("reverse_transformer_layers_per_block") or down[::-1]
    found: list[int] = []
    halves = (("down", levels, down, counts, 0), ("up", levels[::-1], up, counts[::-1], 1))
    for side, places, deep, layers, more in halves:
        default = [f"CrossAttn{side.capitalize()}Block2D"] * len(levels)
        kinds = config.get(f"{side}_block_types", default)
        for kind, level, depth, count in zip(kinds, places, deep, layers, strict=True):
            if kind.startswith("CrossAttn"):
                found += [level] * (
                    sum(depth) if isinstance(depth, list) else depth * (count + more)
                )
    if config.get("mid_block_type", _MID) == _MID:
        found += [levels[-1]] * (down[-1][0] if isinstance(down[-1], list) else down[-1])
    return found


def _counts(config: Mapping[str, Any]) -> list[int]:
    layers = config.get("layers_per_block", 2)
    return layers if isinstance(layers, list) else [layers] * count_levels(config)


def _unknown(basis: str) -> Verdict:
    return Verdict(
        status="does not",
        why="its teacher is not known, so nothing is known to fit; say which it is",
        basis=basis,
    )
