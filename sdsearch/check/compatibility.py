"""What works with a UNet besides diffusers itself, and from which diffusers release on it loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from sdsearch.check.config import count_levels
from sdsearch.model import FrozenModel
from sdsearch.space import why_not_loaded
from sdsearch.unet import SLOTS, UNPRUNED, student_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.unet import Architecture, Backbone

_TEACHER_SKIPS, _TEACHER_CROSS_ATTENTIONS = 12, 16
_LORA_TENSORS = 16
"""Of one attention block: queries, keys, values and output of two attentions, each an A and a B."""


class Verdict(FrozenModel):
    """Whether something made for the teacher works with a UNet, and why, in one sentence."""

    status: Literal["works", "partly", "does not"]
    why: str


class Requirement(FrozenModel):
    """The first diffusers release that builds a config, and the feature that needs it."""

    version: str
    feature: str


def minimum_diffusers(config: Mapping[str, Any], pipeline_class: str | None = None) -> Requirement:
    """The oldest diffusers release that loads a UNet config, and the pipeline if one is given."""
    depths = config.get("transformer_layers_per_block", 1)
    nested = isinstance(depths, list) and any(isinstance(depth, list) for depth in depths)
    mid = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    four_channels = config.get("in_channels", 4) == 4
    features = (
        ("0.22.0", "transformer depths per block (nested lists)", nested),
        ("0.22.0", "a mid block of one resnet", mid == "UNetMidBlock2D"),
        (
            "0.17.0",
            "four input channels in an inpainting pipeline",
            pipeline_class == "StableDiffusionInpaintPipeline" and four_channels,
        ),
        ("0.15.0", "layers_per_block as a list", isinstance(config.get("layers_per_block"), list)),
    )
    for version, feature, needed in features:
        if needed:
            return Requirement(version=version, feature=feature)
    feature = "no mid block" if mid is None else "nothing newer (older releases not looked at)"
    return Requirement(version="0.13.0", feature=feature)


def judge_compatibility(
    config: Mapping[str, Any], arch: Architecture | None, backbone: Backbone | None = None
) -> dict[str, Verdict]:
    """Verdicts on what was made for the teacher, and on exporters and importers, by name.

    For a UNet that is no member of a space (`arch` None) LoRA is not judged. `backbone` is what it
    is a member on.
    """
    verdicts = {
        "ControlNet of the teacher": _controlnet(config, arch),
        "IP-Adapter of the teacher": _ip_adapter(config),
        "ONNX": Verdict(
            status="works",
            why=f"torch.onnx exports it; a dummy latent needs {config.get('in_channels', 4)} "
            "channels",
        ),
        "Core ML": _core_ml(config),
        "ComfyUI": _comfyui(arch, backbone),
        "original checkpoints": _closed_importers(config, arch),
        "FreeU": _freeu(config),
    }
    if arch is not None:
        verdicts["LoRA of the teacher"] = _lora(arch)
    return verdicts


def _controlnet(config: Mapping[str, Any], arch: Architecture | None) -> Verdict:
    stages = count_levels(config)
    layers = config.get("layers_per_block", 2)
    counts = layers if isinstance(layers, list) else [layers] * stages
    skips = 1 + sum(counts) + stages - 1
    narrow = arch is not None and arch.widths is not None
    if skips == _TEACHER_SKIPS and stages == 4 and not narrow:
        return Verdict(status="works", why="it takes all 12 skip residuals and that of the mid")
    if narrow:
        return Verdict(status="does not", why="its features have fewer channels than the teacher's")
    return Verdict(
        status="does not",
        why=f"a ControlNet gives {_TEACHER_SKIPS} skip residuals, this UNet takes {skips}; train "
        "one of its own"
        + (
            ", which ControlNetModel.from_unet cannot begin from this config"
            if isinstance(layers, list) or config.get("mid_block_type", "") is None
            else ""
        ),
    )


def _ip_adapter(config: Mapping[str, Any]) -> Verdict:
    count = count_cross_attentions(config)
    if count == _TEACHER_CROSS_ATTENTIONS:
        return Verdict(status="works", why=f"all {count} cross-attentions are there, in order")
    return Verdict(
        status="does not",
        why=f"it is matched by running order over {_TEACHER_CROSS_ATTENTIONS} cross-attentions, "
        f"and this UNet has {count}",
    )


def count_cross_attentions(config: Mapping[str, Any]) -> int:
    """How many transformer blocks, and so cross-attentions, a UNet config has."""
    stages = count_levels(config)
    layers = config.get("layers_per_block", 2)
    counts = layers if isinstance(layers, list) else [layers] * stages
    down = config.get("transformer_layers_per_block", 1)
    down = down if isinstance(down, list) else [down] * stages
    up = config.get("reverse_transformer_layers_per_block") or down[::-1]
    total = 0
    halves = (("down", down, counts, 0), ("up", up, counts[::-1], 1))
    for side, depths, blocks, more in halves:
        default = [f"CrossAttn{side.capitalize()}Block2D"] * stages
        for kind, depth, count in zip(
            config.get(f"{side}_block_types", default), depths, blocks, strict=True
        ):
            if kind.startswith("CrossAttn"):
                total += sum(depth) if isinstance(depth, list) else depth * (count + more)
    if config.get("mid_block_type", "UNetMidBlock2DCrossAttn") == "UNetMidBlock2DCrossAttn":
        total += down[-1][0] if isinstance(down[-1], list) else down[-1]
    return total


def _core_ml(config: Mapping[str, Any]) -> Verdict:
    mid = config.get("mid_block_type", "UNetMidBlock2DCrossAttn")
    if mid != "UNetMidBlock2DCrossAttn":
        return Verdict(status="does not", why="Apple's converter needs a mid block with attention")
    if isinstance(config.get("layers_per_block", 2), list):
        return Verdict(
            status="does not", why="Apple's converter reads layers_per_block as one number"
        )
    return Verdict(status="works", why="it has the mid block and the one depth that Apple reads")


def _comfyui(arch: Architecture | None, backbone: Backbone | None) -> Verdict:
    if arch is None or backbone is None:
        return Verdict(status="does not", why="only members of a space are written as one file")
    if reason := why_not_loaded(arch, backbone, "comfyui"):
        return Verdict(status="does not", why=reason)
    return Verdict(
        status="works",
        why="as one file in the original layout, from whose names it counts blocks; export writes "
        "one",
    )


def _closed_importers(config: Mapping[str, Any], arch: Architecture | None) -> Verdict:
    whole = UNPRUNED
    widths = config.get("block_out_channels", [320, 640, 1280, 1280])
    if arch == whole and widths == [320, 640, 1280, 1280]:
        return Verdict(status="works", why="it has the layout of Stable Diffusion itself")
    return Verdict(
        status="does not",
        why="AUTOMATIC1111's web UI and stable-diffusion.cpp know a closed list of UNets",
    )


def _freeu(config: Mapping[str, Any]) -> Verdict:
    if count_levels(config) == 4:
        return Verdict(status="works", why="its factors meet the two deepest decoder blocks")
    return Verdict(
        status="partly",
        why="its factors go by decoder block number and meet one level too high in a net of "
        f"{count_levels(config)} levels",
    )


def _lora(arch: Architecture) -> Verdict:
    whole = UNPRUNED
    attentions = [slot for slot in SLOTS if slot.kind == "attn"]
    kept = [slot for slot in attentions if slot.name in arch.kept_slots]
    moved = [slot for slot in kept if student_path(slot, arch) != student_path(slot, whole)]
    total = len(attentions) * _LORA_TENSORS
    if arch.widths is not None:
        return Verdict(status="does not", why="its tensors have the teacher's widths")
    if len(kept) == len(attentions) and not moved:
        return Verdict(status="works", why=f"all {total} tensors of its attentions fit")
    fits = (len(kept) - len(moved)) * _LORA_TENSORS
    misplaced = (
        f", {len(moved) * _LORA_TENSORS} belong to another module name and must be renamed by "
        "provenance.json before loading"
        if moved
        else ""
    )
    return Verdict(
        status="partly",
        why=f"{fits} of the {total} tensors of its attentions fit{misplaced}, "
        f"{(len(attentions) - len(kept)) * _LORA_TENSORS} have lost their block",
    )
