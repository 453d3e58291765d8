"""What can be wrong between a pipeline's parts: channels, text width, latents, safety checker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sdsearch.check.problems import Problem
from sdsearch.errors import InputError
from sdsearch.pipelines import PARTS, find_distilled, read_part
from sdsearch.unet import find_misfits, read_noise_schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import nn

    from sdsearch.pipelines import Part, PipelineFolder

_INPAINT = "StableDiffusionInpaintPipeline"
_UNET = ["diffusers", "UNet2DConditionModel"]
_SAVE_AGAIN = "save the pipeline again with save_pretrained"


def check_pipeline(pipeline: PipelineFolder, config: Mapping[str, Any]) -> list[Problem]:
    """Problems of a pipeline's parts by themselves, between them, and with its UNet's config."""
    return [
        *_channel_plan(pipeline.index, config),
        *_parts(pipeline),
        *_safety_checker(pipeline),
        *(
            Problem.of("distilled", error, error.field)
            for error in find_distilled(pipeline.name, pipeline.index, config)
        ),
        *(Problem.of(code, error, code) for code, error in find_misfits(pipeline.folder, config)),
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


def _parts(pipeline: PipelineFolder) -> Iterator[Problem]:
    """What stands against loading a part; the UNet's weights are looked at by themselves."""
    for name in PARTS:
        try:
            if name != "unet":
                _check_part(pipeline, name)
            elif pipeline.index.get(name) != _UNET:
                yield Problem(
                    code="component",
                    where=f"model_index.json: {name}",
                    found=repr(pipeline.index.get(name)),
                    wanted=repr(_UNET),
                    next_step="no other class is supported for this part",
                )
        except InputError as error:
            yield Problem.of("component", error, f"{name}/")


def _check_part(pipeline: PipelineFolder, name: str) -> None:
    """Refuse what does not load, or what loads in silence and is used wrongly."""
    from sdsearch.weights import load_part, load_tokenizer, quiet_libraries

    part = read_part(pipeline, name)
    if name == "scheduler":
        read_noise_schedule(pipeline)
    elif name == "tokenizer":
        load_tokenizer(part, read_part(pipeline, "text_encoder"))
    else:
        with quiet_libraries():
            module = load_part(part)
        _check_finite(part, module)


def _check_finite(part: Part, module: nn.Module) -> None:
    """Refuse a part that would paint black images, as one that was damaged or halved may."""
    for name, tensor in module.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise InputError(
                f"the weights of the {part.name} in {part.folder} must be finite, but {name} holds "
                "NaN or infinity; copy or download them again"
            )


def note_pickles(pipeline: PipelineFolder) -> Iterator[Problem]:
    """The parts beside the UNet whose weights are pickles: they load, their tensors alone."""
    for name in ("vae", "text_encoder"):
        try:
            part = read_part(pipeline, name)
        except InputError:
            continue  # a problem, which is told as one
        if part.weights is not None and part.weights.pickled:
            yield Problem(
                code="pickled-part",
                where=f"{name}/{part.weights.names[0]}",
                found="a pickle, of which tensors alone are loaded",
                wanted="safetensors, which load anywhere",
                next_step=f"{_SAVE_AGAIN}, where you trust it",
            )


def _safety_checker(pipeline: PipelineFolder) -> Iterator[Problem]:
    def has(name: str) -> bool:
        return pipeline.index.get(name) not in (None, [None, None])

    if has("safety_checker") and not has("feature_extractor"):
        yield Problem(
            code="safety-checker",
            where="model_index.json: feature_extractor",
            found="absent beside a safety checker, which raises on loading",
            wanted="there, or both absent with requires_safety_checker false",
            next_step=_SAVE_AGAIN,
        )
    elif has("safety_checker") and not (pipeline.folder / "safety_checker").is_dir():
        yield Problem(
            code="safety-checker",
            where="safety_checker/",
            found="absent although model_index.json lists it, which raises on loading in diffusers",
            wanted="there, or [null, null] in model_index.json",
            next_step="load with safety_checker=None; sdsearch does without it",
        )
