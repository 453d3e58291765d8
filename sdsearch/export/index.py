"""The model_index.json of an export: its stock class, and the parts that it has."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.pipelines import OPTIONAL_PARTS, PARTS, read_part

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sdsearch.labels import Task
    from sdsearch.pipelines import Part, PipelineFolder

INPAINT = "StableDiffusionInpaintPipeline"
PAINT = "StableDiffusionPipeline"
_NOTHING = [None, None]
_TODAY = {"feature_extractor": "CLIPImageProcessor"}
"""What releases have called otherwise, by the name that all know."""


def choose_class(channels: int, task: Task) -> str:
    """The stock class of an export whose UNet has `channels` inputs, by what it was measured for.

    Nine channels can only be inpainted with; four do either, whatever class the teacher has.

    >>> choose_class(4, "text-to-image")
    'StableDiffusionPipeline'
    >>> choose_class(9, "text-to-image")
    'StableDiffusionInpaintPipeline'
    """
    return PAINT if channels == 4 and task == "text-to-image" else INPAINT


def read_parts(pipeline: PipelineFolder) -> tuple[list[Part], dict[str, str]]:
    """The parts beside the UNet that a pipeline has, and why it lacks those optional ones it lists.

    A safety checker without a feature extractor cannot be loaded: both are lacking then.

    Raises:
        InputError: a part that painting needs is not supported, or lacks a file.
    """
    parts = {name: read_part(pipeline, name) for name in PARTS if name != "unet"}
    lacking = {}
    for name in OPTIONAL_PARTS:
        if pipeline.index.get(name) not in (None, _NOTHING):
            try:
                parts[name] = read_part(pipeline, name)
            except InputError as error:
                lacking[name] = str(error)
    if "safety_checker" in parts and "feature_extractor" not in parts:
        del parts["safety_checker"]
        lacking["safety_checker"] = "it needs the feature extractor, which is not there"
    return list(parts.values()), lacking


def describe_index(pipeline: PipelineFolder, parts: Iterable[Part], kind: str) -> str:
    """The text of model_index.json for an export of the class `kind` with `parts` and a UNet."""
    there = {part.name: part for part in parts}
    index: dict[str, Any] = {
        "_class_name": kind,
        "_diffusers_version": version("diffusers"),
        "unet": ["diffusers", "UNet2DConditionModel"],
        "requires_safety_checker": "safety_checker" in there
        and bool(pipeline.index.get("requires_safety_checker", True)),
    }
    for name in (*PARTS, *OPTIONAL_PARTS):
        if name != "unet":
            part = there.get(name)
            entry = part and [part.library, _TODAY.get(name, part.class_name)]
            index[name] = entry or _NOTHING
    return json.dumps(index, indent=2, sort_keys=True) + "\n"
