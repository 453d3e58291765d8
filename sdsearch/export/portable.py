"""What makes parts load with releases of years alike, and say nothing of the machine they were on.

Releases of transformers before 5 look for `vocab.json` and `merges.txt`, and name the tensors of a
CLIP tower with the modules that hold it; what they do not find by that name they leave random,
with a warning only. Today's read both forms, and load a part in the precision that its config says.
"""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.pipelines import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TOWERS = {
    "text_encoder": "text_model.",
    "image_encoder": "vision_model.",
    "safety_checker": "vision_model.vision_model.",
}
"""The modules that hold the tower in each part that has one."""
_IN_A_TOWER = re.compile(
    r"(?:(?:text|vision)_model\.)*"
    r"((?:embeddings|encoder|pre_layrnorm|post_layernorm|final_layer_norm)\..+)"
)
_NAMED_WITHOUT_PLACE = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def tensor_name(part: str, name: str) -> str:
    """The name of a part's tensor that loaders of all releases know.

    >>> tensor_name("text_encoder", "encoder.layers.0.mlp.fc1.bias")
    'text_model.encoder.layers.0.mlp.fc1.bias'
    >>> tensor_name("safety_checker", "concept_embeds")
    'concept_embeds'
    """
    tower, found = _TOWERS.get(part), _IN_A_TOWER.fullmatch(name)
    return name if tower is None or found is None else tower + found[1]


def drop_places(said: Any) -> Any:
    """The JSON value without its entries that are paths, or names of things that lay at one.

    >>> drop_places({"_name_or_path": "/home/me/sd", "tokenizer_class": "CLIPTokenizer"})
    {'tokenizer_class': 'CLIPTokenizer'}
    >>> drop_places({"_name_or_path": "openai/clip-vit-large-patch14"})
    {'_name_or_path': 'openai/clip-vit-large-patch14'}
    """
    if isinstance(said, dict):
        return {
            name: drop_places(value)
            for name, value in said.items()
            if not (isinstance(value, str) and _is_place(name, value))
        }
    return [drop_places(one) for one in said] if isinstance(said, list) else said


def _is_place(name: str, value: str) -> bool:
    if name.endswith("name_or_path"):
        return not _NAMED_WITHOUT_PLACE.fullmatch(value)
    absolute = PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
    return absolute or value.startswith("~/")


def load_in_single(config: Mapping[str, Any], *, stored_in_single: bool) -> dict[str, Any]:
    """A config by which transformers loads its part in float32 where nothing else is asked for.

    Today's releases load each part in the precision that its config says, or else in that of its
    file; a text encoder in half precision does not go together with a UNet in single.
    """
    fields = [name for name in ("dtype", "torch_dtype") if name in config]
    if not fields and stored_in_single:
        return dict(config)
    return {**config, **dict.fromkeys(fields or ["dtype"], "float32")}


def complete_vocabulary(folder: Path) -> None:
    """Write the form of a tokenizer that is lacking in its folder, from the one that is there.

    The forms are `tokenizer.json`, and `vocab.json` with `merges.txt`.

    Raises:
        InputError: there is neither, or `tokenizer.json` is not that of a CLIP tokenizer.
    """
    one = folder / "tokenizer.json"
    if not all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        _split_vocabulary(read_json(one), folder)
    elif not one.is_file():
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
        tokenizer.backend_tokenizer.save(str(one))


def _split_vocabulary(said: Mapping[str, Any], folder: Path) -> None:
    try:
        model = said["model"]
        vocabulary: dict[str, int] = dict(model["vocab"])
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder.name}/tokenizer.json must hold the vocabulary and merges of a CLIP "
            "tokenizer, but does not; save the pipeline again with save_pretrained"
        ) from None
    text = json.dumps(vocabulary, ensure_ascii=False)
    (folder / "vocab.json").write_text(text, encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges]) + "\n"
    (folder / "merges.txt").write_text(lines, encoding="utf-8")
