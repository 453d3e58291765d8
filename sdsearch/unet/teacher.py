"""The teacher: its backbone, and the hash of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import FieldError, InputError, suggest
from sdsearch.keys import file_sha256
from sdsearch.pipelines import (
    PARTS,
    find_config,
    find_distilled,
    list_files,
    locate_pipeline,
    open_pipeline,
    read_index,
    read_json,
)
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import PRESETS, TINY, Backbone, check_family
from sdsearch.unet.cost import count_params
from sdsearch.unet.gate import read_unet_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdsearch.pipelines import PipelineFolder


FULL_SIZE = 50_000_000
"""Parameters of a teacher of full size: the tiny one has 3.3 million, Stable Diffusion 860."""
_MOST_LEVELS = 8  # of an autoencoder; those of Stable Diffusion have 4


def check_teacher(pipeline: str) -> None:
    """Refuse a pipeline that is distilled or of another family, before any of its weights are read.

    Of a hub id model_index.json and the UNet's config are fetched or read.

    Raises:
        FieldError: the first field that stands against it.
        InputError: the configs cannot be had.
    """
    config = read_unet_config(find_config(pipeline, "unet"))
    for distilled in find_distilled(pipeline, read_index(pipeline), config):
        raise distilled
    check_family(config)


def teacher_backbone(pipeline: str) -> Backbone:
    """Return the backbone of a teacher; of a hub id only the UNet's config is fetched or read.

    Raises `InputError` where the config cannot be had, or is of another family.
    """
    if pipeline == "tiny":
        return TINY
    return Backbone.from_config(read_unet_config(find_config(pipeline, "unet")))


def is_full_size(pipeline: str) -> bool:
    """Whether a teacher is no tiny model, whose numbers say nothing about others.

    Raises:
        InputError: as `teacher_backbone`.
    """
    return count_params(UNPRUNED, teacher_backbone(pipeline)) >= FULL_SIZE


def teacher_resolution(pipeline: str) -> int:
    """The side in pixels of the images that a teacher was trained on, by its own configs.

    That is its UNet's latent size times what its autoencoder divides images by. Of a hub id two
    configs are fetched or read.

    Raises:
        InputError: the configs cannot be had, or are of another family.
    """
    config = read_json(find_config(pipeline, "vae"))
    # An AutoencoderTiny names the levels of both of its halves; AutoencoderKL has one list.
    levels = config.get("block_out_channels", config.get("encoder_block_out_channels"))
    if not isinstance(levels, list) or not 1 <= len(levels) <= _MOST_LEVELS:
        field, step = "vae/config.json: block_out_channels", "take the UNet's own autoencoder"
        raise FieldError(field, levels, "a list with the width of each level", step)
    halvings = len(levels) - 1
    return teacher_backbone(pipeline).sample_size << halvings


def find_backbone(name: Path | str) -> Backbone:
    """The backbone called `name`: a preset's name such as "sd14", a pipeline or a hub id.

    >>> import sdsearch
    >>> sdsearch.find_backbone("sd2").cross_attention_dim
    1024

    Raises:
        InputError: nothing is called so, or it is a UNet of another family.
    """
    if not isinstance(name, (str, Path)):
        raise InputError(
            "a backbone must be a Backbone, or the name, folder or hub id of one, but got "
            f"{name!r}, of type {type(name).__name__}"
        )
    text = str(name)
    if text in PRESETS:
        return PRESETS[text]
    if "/" not in text and not Path(text).exists():
        raise InputError(
            f"a backbone must be one of {', '.join(PRESETS)}, a pipeline folder or a hub id, but "
            f"{text!r} is no folder here{suggest(text, PRESETS)}"
        )
    return teacher_backbone(text)


def teacher_identity(pipeline: str, sha256: Callable[[Path], str] = file_sha256) -> str:
    """What names a teacher by content: the hash of a local folder, else the hub id.

    `sha256` hashes a file. Raises `InputError` for a folder that does not exist or is no diffusers
    pipeline.
    """
    place = locate_pipeline(pipeline)
    return place if isinstance(place, str) else teacher_sha256(open_pipeline(pipeline), sha256)


def teacher_sha256(pipeline: PipelineFolder, sha256: Callable[[Path], str] = file_sha256) -> str:
    """SHA-256 over every file that is read when a pipeline is loaded, by its name and bytes.

    `sha256` hashes a file.

    Raises:
        InputError: a part is not supported, or lacks a file.
    """
    return _hash_files(list_files(pipeline), sha256)


def former_teacher_sha256(pipeline: PipelineFolder) -> str:
    """The hash by which labels knew a teacher before it covered every file that is loaded."""
    return _hash_files(
        (name, file)
        for name in PARTS
        for file in sorted((pipeline.folder / name).glob("*"))
        if file.suffix in (".json", ".safetensors", ".txt")
    )


def _hash_files(
    files: Iterable[tuple[str, Path]], sha256: Callable[[Path], str] = file_sha256
) -> str:
    digest = hashlib.sha256()
    for name, file in files:
        digest.update(f"{name}/{file.name} {sha256(file)}\n".encode())
    return digest.hexdigest()
