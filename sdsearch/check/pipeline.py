"""What can be wrong between a pipeline's parts: channels, text width, latents, safety checker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sdsearch.check.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_INPAINT = "StableDiffusionInpaintPipeline"
_NEEDED = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_SAVE_AGAIN = "save the pipeline again with save_pretrained"


def check_pipeline(folder: Path, config: Mapping[str, Any]) -> list[Problem]:
    """Problems between the parts of a pipeline folder and its UNet's config.

    A file that is no readable JSON is a problem too.
    """
    index = _json(folder / "model_index.json")
    if index is None:
        return [_unreadable(folder / "model_index.json")]
    return [
        *_channel_plan(index, config),
        *_components(folder, index),
        *_safety_checker(index),
        *_widths(folder, config),
    ]


def _channel_plan(index: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Problem]:
    channels, kind = config.get("in_channels", 4), index.get("_class_name")
    if channels == 9 and kind != _INPAINT:
        yield Problem(
            code="channel-plan",
            where="model_index.json: _class_name",
            found=f"{kind!r} with a UNet of 9 input channels, which fails only when called",
            wanted=f"{_INPAINT!r}",
            next_step="set _class_name, or put a UNet of 4 input channels into unet/",
        )
    if channels not in (4, 9):
        yield Problem(
            code="channel-plan",
            where="unet/config.json: in_channels",
            found=str(channels),
            wanted="4 (text to image, blending) or 9 (inpainting: latent 4, mask 1, masked 4)",
            next_step="no Stable Diffusion pipeline runs this UNet",
        )


def _components(folder: Path, index: Mapping[str, Any]) -> Iterator[Problem]:
    for name in _NEEDED:
        entry = index.get(name)
        if not isinstance(entry, list) or None in entry:
            yield Problem(
                code="component",
                where=f"model_index.json: {name}",
                found=repr(entry),
                wanted="[library, class]; a pipeline saved without it cannot be loaded",
                next_step=_SAVE_AGAIN,
            )
        elif not (folder / name).is_dir():
            yield Problem(
                code="component",
                where=f"{name}/",
                found="missing",
                wanted="a folder, as model_index.json lists it",
                next_step=_SAVE_AGAIN,
            )


def _safety_checker(index: Mapping[str, Any]) -> Iterator[Problem]:
    def has(name: str) -> bool:
        entry = index.get(name)
        return isinstance(entry, list) and None not in entry

    if has("safety_checker") and not has("feature_extractor"):
        yield Problem(
            code="safety-checker",
            where="model_index.json: feature_extractor",
            found="absent beside a safety checker, which raises on loading",
            wanted="there, or both absent with requires_safety_checker false",
            next_step=_SAVE_AGAIN,
        )


def _widths(folder: Path, config: Mapping[str, Any]) -> Iterator[Problem]:
    text, vae = (_json(folder / part / "config.json") for part in ("text_encoder", "vae"))
    for part, found in (("text_encoder", text), ("vae", vae)):
        if found is None and (folder / part).is_dir():
            yield _unreadable(folder / part / "config.json")
    context = config.get("cross_attention_dim", 1280)
    if text is not None and text.get("hidden_size", context) != context:
        yield Problem(
            code="text-width",
            where="text_encoder/config.json: hidden_size",
            found=str(text["hidden_size"]),
            wanted=f"the UNet's cross_attention_dim, {context}",
            next_step="take the text encoder of the teacher",
        )
    latents = config.get("out_channels", 4)
    if vae is not None and vae.get("latent_channels", 4) != latents:
        yield Problem(
            code="latent-channels",
            where="vae/config.json: latent_channels",
            found=str(vae.get("latent_channels", 4)),
            wanted=f"the UNet's out_channels, {latents}",
            next_step="take the autoencoder of the teacher",
        )


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _unreadable(file: Path) -> Problem:
    return Problem(
        code="component",
        where=f"{file.parent.name}/{file.name}",
        found="no readable JSON object",
        wanted="the config that save_pretrained writes",
        next_step=_SAVE_AGAIN,
    )
