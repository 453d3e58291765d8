"""The teacher of a study: the pipeline that study.toml names, or what it became by tuning.

A pipeline that paints from words may learn to inpaint first. Then everything after it sees one more
pipeline of 9 channels, in the study's folder `teacher`, which says itself how it was tuned.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.files import read_json_bytes
from sdsearch.labels import find_difference
from sdsearch.model import FrozenModel
from sdsearch.unet import PAINT_CHANNELS, teacher_backbone

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.config import StudyConfig
    from sdsearch.unet import Backbone

TUNING = "tuning.json"
"""In the folder of a tuned teacher: how it was tuned."""


class Tuning(FrozenModel):
    """What a teacher was tuned from, on and how.

    Attributes:
        settings: of study.toml, as far as they count; files by their last names.
        held_out: photos that it has not seen: those that labels may be measured on.
        origin: the identity by content of the pipeline that was tuned.
    """

    settings: dict[str, Any]
    held_out: int
    origin: str


def read_backbone(config: StudyConfig) -> Backbone:
    """The backbone of a study's teacher, tuned already or not; one config is read.

    Raises:
        InputError: it cannot be had, or what is to learn to inpaint cannot.
    """
    teacher = config.teacher
    backbone = teacher_backbone(teacher.pipeline)
    if not teacher.inpaint:
        return backbone
    if backbone.in_channels != PAINT_CHANNELS:
        raise InputError(
            f"only a UNet of {PAINT_CHANNELS} input channels learns to inpaint, but that of "
            f"{teacher.pipeline} has {backbone.in_channels}: it sees masks already; leave inpaint "
            "out of [teacher]"
        )
    if config.protocol.paints_words:
        raise InputError(
            "a teacher that learns to inpaint is measured by inpainting, but task in [protocol] is "
            f"{config.protocol.task!r}; leave inpaint out of [teacher], or set task = 'inpaint'"
        )
    return backbone.inpainting


def describe_tuning(config: StudyConfig, origin: str) -> Tuning:
    """How the teacher of a study is to be tuned, out of a pipeline of this identity."""
    return Tuning(settings=_settings(config), held_out=_held_out(config), origin=origin)


def find_tuned(folder: Path, config: StudyConfig) -> Path:
    """The folder of a tuned teacher, which is there and is what the study asks for.

    Raises:
        InputError: it is not.
    """
    found, study = read_tuning(folder), folder.parent
    if found is None:
        raise InputError(
            f"the teacher of {study} must learn to inpaint first, but {folder} is not there yet; "
            f"run: sdsearch tune {study}"
        )
    if found.settings != (wanted := _settings(config)):
        said = find_difference(found.settings, wanted) or "several settings differ"
        raise InputError(
            f"{folder} must be tuned as {study / 'study.toml'} says, but {said}; restore that, or "
            f"run: sdsearch tune {study}"
        )
    if (held_out := _held_out(config)) > found.held_out:
        raise InputError(
            f"labels must be measured on photos that {folder} has not learned from, which are the "
            f"first {found.held_out}, but samples in [protocol] is {held_out}; lower it, or "
            f"run: sdsearch tune {study}"
        )
    return folder


def read_tuning(folder: Path) -> Tuning | None:
    """What a tuned teacher says of itself; None where there is none.

    Raises:
        InputError: it cannot be read.
    """
    file = folder / TUNING
    if not file.exists():
        return None
    try:
        return Tuning.model_validate_json(read_json_bytes(file))
    except ValueError as error:
        raise InputError(
            f"{file} must be what sdsearch wrote, but: {error}; remove its folder, and it is made "
            "again from the weights"
        ) from None


def _settings(config: StudyConfig) -> dict[str, Any]:
    """What decides what is learned; pipeline and dataset may move, but not be called otherwise."""
    teacher, protocol = config.teacher, config.protocol
    said: dict[str, Any] = {
        "pipeline": PurePath(teacher.pipeline).name,
        "dataset": PurePath(protocol.dataset).name,
        "resolution": protocol.resolution,
        "tuning": teacher.tuning.identity,
    }
    if protocol.crop != "whole":
        said["crop"] = [protocol.crop, protocol.crop_padding]
    if teacher.tuning.masks == "protocol":
        said["masks"] = PurePath(protocol.masks).name
        said["mask_reading"] = [protocol.mask_convention, protocol.mask_geometry]
    return said


def _held_out(config: StudyConfig) -> int:
    """Photos that are not learned from; of scenes, other ones are."""
    return 0 if config.protocol.dataset == "scenes" else config.protocol.held_out
