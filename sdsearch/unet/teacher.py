"""The teacher's folder: where it lies, which backbone it has, and the hash of its weights."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from sdsearch.assets import asset_path
from sdsearch.errors import InputError, nearest
from sdsearch.keys import file_sha256
from sdsearch.unet.backbone import PRESETS, TINY, Backbone

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def resolve_teacher(pipeline: str) -> Path | str:
    """Return the local folder of a teacher, or its hub id unchanged.

    Raises `InputError` for a folder that does not exist or is no diffusers pipeline.
    """
    if pipeline == "tiny":
        return asset_path("tiny-sd")
    folder = Path(pipeline).expanduser()
    if pipeline and folder.is_dir():
        _check_index(folder)
        return folder
    if _HUB_ID.fullmatch(pipeline) and not pipeline.startswith("."):
        return pipeline
    raise InputError(
        f"teacher.pipeline must be 'tiny', a local folder or a hub id, but {pipeline!r} is no "
        "folder here; check the path, or write a hub id as owner/name"
    )


def teacher_backbone(pipeline: str) -> Backbone:
    """Return the backbone of a teacher; of a hub id only the UNet's config is fetched or read.

    Raises `InputError` where the config cannot be had, or is of another family.
    """
    if pipeline == "tiny":
        return TINY
    folder = resolve_teacher(pipeline)
    name = "unet/config.json"
    file = _hub_file(folder, name) if isinstance(folder, str) else folder / name
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the teacher needs a readable {file}: {error}") from None
    return Backbone.from_config(config)


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


def unet_weights(pipeline: str) -> Path:
    """The safetensors file of a teacher's UNet; that of a hub id is fetched into the hub's cache.

    Raises:
        InputError: there is none.
    """
    folder, name = resolve_teacher(pipeline), "unet/diffusion_pytorch_model.safetensors"
    if isinstance(folder, str):
        return _hub_file(folder, name)
    if not (folder / name).is_file():
        raise InputError(
            f"the teacher's UNet weights must be at {folder / name}, but are not; save them as "
            "safetensors"
        )
    return folder / name


def _hub_file(repository: str, name: str) -> Path:
    """A file of a repository in the hub's cache, downloaded if it is not there."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{name} of teacher {repository!r} must be on the hub or in its cache, but: "
            f"{reason}; check the id, your network and HF_TOKEN, or give a local folder"
        ) from None


def _check_index(folder: Path) -> None:
    try:
        index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"teacher.pipeline must be a diffusers folder, but {folder} has no model_index.json"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/model_index.json must be readable JSON: {error}") from None
    if not isinstance(index, dict) or "_class_name" not in index:
        raise InputError(
            f"{folder}/model_index.json must name its pipeline's _class_name, but does not; save "
            "the pipeline again with save_pretrained"
        )


def teacher_identity(pipeline: str) -> str:
    """What names a teacher by content: the hash of a local folder, else the hub id.

    Raises `InputError` for a folder that does not exist or is no diffusers pipeline.
    """
    folder = resolve_teacher(pipeline)
    return folder if isinstance(folder, str) else teacher_sha256(folder)


TINY_BEFORE = "ce8e9ebe9a0187774ec86dc760f8755bee33249afe62d760ff1b621780c7deb8"
"""The hash of the tiny teacher before its files got the names that older loaders need."""


def former_teacher_sha256(folder: Path) -> str:
    """The hash by which labels knew a teacher before it covered every file that is loaded."""
    if folder == asset_path("tiny-sd"):
        return TINY_BEFORE
    digest = hashlib.sha256()
    for component in COMPONENTS:
        for path in sorted((folder / component).glob("*")):
            if path.suffix in (".json", ".safetensors", ".txt"):
                digest.update(f"{component}/{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def teacher_sha256(folder: Path) -> str:
    """SHA-256 over the configs, vocabularies and weights of a pipeline folder, by relative name."""
    digest = hashlib.sha256()
    for component in COMPONENTS:
        for path in sorted((folder / component).glob("*")):
            if path.suffix in (".json", ".safetensors", ".txt"):
                digest.update(f"{component}/{path.name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()
