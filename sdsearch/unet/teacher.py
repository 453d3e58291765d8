"""The teacher: its backbone, and the hash of its weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sdsearch.errors import InputError, nearest
from sdsearch.keys import file_sha256
from sdsearch.pipelines import PARTS, find_config, locate_pipeline
from sdsearch.unet.backbone import PRESETS, TINY, Backbone
from sdsearch.unet.gate import read_unet_config


def teacher_backbone(pipeline: str) -> Backbone:
    """Return the backbone of a teacher; of a hub id only the UNet's config is fetched or read.

    Raises `InputError` where the config cannot be had, or is of another family.
    """
    if pipeline == "tiny":
        return TINY
    return Backbone.from_config(read_unet_config(find_config(pipeline, "unet")))


def find_backbone(name: Path | str) -> Backbone:
    """The backbone called `name`: a preset's name such as "sd14", a pipeline folder or a hub id.

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
    if "/" not in text and not Path(text).is_dir():
        raise InputError(
            f"a backbone must be one of {', '.join(PRESETS)}, a pipeline folder or a hub id, but "
            f"{text!r} is no folder here; did you mean {nearest(text, PRESETS)!r}?"
        )
    return teacher_backbone(text)


def teacher_identity(pipeline: str) -> str:
    """What names a teacher by content: the hash of a local folder, else the hub id.

    Raises `InputError` for a folder that does not exist or is no diffusers pipeline.
    """
    folder = locate_pipeline(pipeline)
    return folder if isinstance(folder, str) else teacher_sha256(folder)


def teacher_sha256(folder: Path) -> str:
    """SHA-256 over the configs, vocabularies and weights of a pipeline folder, by relative name."""
    digest = hashlib.sha256()
    for component in PARTS:
        for path in sorted((folder / component).glob("*")):
            if path.suffix in (".json", ".safetensors", ".txt"):
                digest.update(f"{component}/{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
