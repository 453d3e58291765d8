"""What works with a UNet besides diffusers itself, and from which diffusers release on it loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.check.attachments import (
    attention_levels,
    judge_controlnet,
    judge_ip_adapter,
    judge_lora,
)
from sdsearch.check.config import count_levels
from sdsearch.check.trial import try_call
from sdsearch.check.verdict import Verdict
from sdsearch.model import FrozenModel
from sdsearch.space import why_not_loaded
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.check.trial import Trial
    from sdsearch.unet import Architecture, Backbone

_MID = "UNetMidBlock2DCrossAttn"


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
    """Verdicts on what was made for the teacher, and on programs that take UNets, by name.

    Args:
        config: one that diffusers builds.
        arch: what it is; for a UNet that is no member of a space, None, LoRA is not judged.
        backbone: the teacher's.
    """
    trial = try_call(config)
    verdicts = {
        "ControlNet of the teacher": judge_controlnet(config, backbone),
        "IP-Adapter of the teacher": judge_ip_adapter(config, arch, backbone),
        "DeepCache": _deepcache(config),
        "tomesd": _tomesd(config),
        "torchao": _torchao(trial),
        "ONNX": _onnx(config, trial),
        "Core ML": _core_ml(config),
        "ComfyUI": _comfyui(arch, backbone),
        "original checkpoints": _closed_importers(config, arch),
        "FreeU": _freeu(config),
    }
    if arch is not None and backbone is not None:
        verdicts["LoRA of the teacher"] = judge_lora(arch, backbone)
    return verdicts


def _deepcache(config: Mapping[str, Any]) -> Verdict:
    basis = "run: DeepCache 0.1.1 (docs/compatibility.md), which wraps unet.mid_block"
    if config.get("mid_block_type", _MID) is None:
        why = "there is no mid block, and DeepCache fails without one"
        return Verdict(status="does not", why=why, basis=basis)
    return Verdict(status="works", why="it has the mid block that DeepCache wraps", basis=basis)


def _tomesd(config: Mapping[str, Any]) -> Verdict:
    """Tokens are merged in self-attentions, by default in those at the size of the latents."""
    basis = "run: tomesd 0.1.3 (docs/compatibility.md), at its default max_downsample=1"
    levels = attention_levels(config)
    if not levels:
        why = "it has no attention whose tokens could be merged"
        return Verdict(status="does not", why=why, basis=basis)
    if 0 not in levels:
        why = "it runs but merges nothing: no attention is at level 0; give it max_downsample=2"
        return Verdict(status="partly", why=why, basis=basis)
    return Verdict(status="works", why="it merges tokens of the attentions at level 0", basis=basis)


def _torchao(trial: Trial) -> Verdict:
    rest = 2 * (trial.total - trial.linear)
    before, after = 2 * trial.total / 1e6, (rest + trial.linear) / 1e6
    return Verdict(
        status="works",
        why=f"int8 weights of its linear layers, {trial.linear / trial.total:.0%} of all: "
        f"{before:,.1f} MB in half precision become {after:,.1f}; convolutions stay",
        basis="count of parameters; run: torchao 0.18 (docs/compatibility.md)",
    )


def _onnx(config: Mapping[str, Any], trial: Trial) -> Verdict:
    basis = "run: one call without weights; exports: docs/compatibility.md"
    if trial.refusal is not None:
        why = f"it takes more than latents, step and text, without which it fails: {trial.refusal}"
        return Verdict(status="does not", why=why, basis=basis)
    return Verdict(
        status="works",
        why="it runs on latents, step and text alone; a dummy latent needs "
        f"{config.get('in_channels', 4)} channels",
        basis=basis,
    )


def _core_ml(config: Mapping[str, Any]) -> Verdict:
    basis = "rule: source of Apple's ml-stable-diffusion, not run"
    if config.get("mid_block_type", _MID) != _MID:
        why = "Apple's converter needs a mid block with attention"
        return Verdict(status="does not", why=why, basis=basis)
    if isinstance(config.get("layers_per_block", 2), list):
        why = "Apple's converter reads layers_per_block as one number"
        return Verdict(status="does not", why=why, basis=basis)
    why = "it has the mid block and the one depth that Apple reads"
    return Verdict(status="works", why=why, basis=basis)


def _comfyui(arch: Architecture | None, backbone: Backbone | None) -> Verdict:
    basis = "rule: how its source finds a UNet by names and shapes, said again in tests, not run"
    if arch is None or backbone is None:
        why = "only members of a space are written as one file"
        return Verdict(status="does not", why=why, basis=basis)
    if reason := why_not_loaded(arch, backbone, "comfyui"):
        return Verdict(status="does not", why=reason, basis=basis)
    why = "as one file in the original layout, from whose names it counts blocks; export writes one"
    return Verdict(status="works", why=why, basis=basis)


def _closed_importers(config: Mapping[str, Any], arch: Architecture | None) -> Verdict:
    whole, basis = UNPRUNED, "rule: a list of layouts, not run"
    widths = config.get("block_out_channels", [320, 640, 1280, 1280])
    if arch == whole and widths == [320, 640, 1280, 1280]:
        why = "it has the layout of Stable Diffusion itself"
        return Verdict(status="works", why=why, basis=basis)
    why = "AUTOMATIC1111's web UI and stable-diffusion.cpp know a closed list of UNets"
    return Verdict(status="does not", why=why, basis=basis)


def _freeu(config: Mapping[str, Any]) -> Verdict:
    basis = "rule: diffusers applies FreeU to decoder blocks 0 and 1"
    if count_levels(config) == 4:
        why = "its factors meet the two deepest decoder blocks"
        return Verdict(status="works", why=why, basis=basis)
    return Verdict(
        status="partly",
        why="its factors go by decoder block number and meet one level too high in a net of "
        f"{count_levels(config)} levels",
        basis=basis,
    )
