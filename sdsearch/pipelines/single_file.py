"""A teacher that is one file in the original layout: unpacked once into a diffusers folder.

The folder lies in the user's cache; everything else reads it as any other. What the file does not
hold is taken from a folder beside it of the same name without suffix (`model/` of
`model.safetensors`) where that has it, else from the family's configs that come with the package.
Nothing is downloaded, and pickles are not opened.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.console import say
from sdsearch.errors import FieldError, InputError
from sdsearch.files import LARGEST_JSON, read_tensor_header, read_text
from sdsearch.keys import content_key
from sdsearch.original import (
    PREFIXES,
    family_folder,
    find_pieces,
    parse_prediction,
    read_single_file,
    write_pieces,
)
from sdsearch.pipelines.hub import cached_folder
from sdsearch.pipelines.reading import check_pulled, read_json
from sdsearch.pipelines.weight_files import weight_stem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.files import TensorEntry
    from sdsearch.original import Prediction, SingleFile

_LAYOUT = 1
"""Of an unpacked folder: raise it when what is written changes."""
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_CLASSES = {
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}
_CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json")
_SCHEDULER = "scheduler/scheduler_config.json"
_VOCABULARY = ("vocab.json", "merges.txt")
_TOKENIZER = (*_VOCABULARY, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_VOCABULARIES = ("openai/clip-vit-large-patch14",)
"""Repositories of the hub with the vocabulary of both families, where their cache has it."""
_SAID = re.compile(r"^\s*parameterization:\s*(\S+)", re.MULTILINE)


def unpack_single_file(file: Path) -> Path:
    """The diffusers folder of a single file, unpacked now unless it has been.

    Raises:
        InputError: it is a pickle, no Stable Diffusion 1.x or 2.x in the original layout, a pruned
            one, or something that it does not hold is not beside it: what, and the next step.
    """
    if file.suffix.lower() in _PICKLES:
        raise InputError(
            f"{file} is a pickle, which can run any code and is not opened; convert it: "
            f"{safe_command(file)}"
        )
    check_pulled(file)
    stat, beside = file.stat(), file.with_suffix("")
    mark = {
        "layout": _LAYOUT,
        "file": str(file.resolve()),
        "state": [stat.st_size, stat.st_mtime_ns],
        "beside": _list_beside(file),
    }
    folder = _cache() / content_key(mark) / file.stem
    if not (folder / "model_index.json").is_file():
        _unpack(file, beside, folder)
    return folder


def safe_command(file: Path) -> str:
    """The command that converts a pickle without running code of it; torch refuses other content.

    What it writes lies beside the pickle.
    """
    code = (
        "import torch; from safetensors.torch import save_file; "
        f"held = torch.load({str(file)!r}, map_location='cpu', weights_only=True); "
        "held = held.get('state_dict', held); "
        "save_file({name: one.clone().contiguous() for name, one in held.items() "
        "if isinstance(one, torch.Tensor)}, "
        f"{str(file.with_suffix('.safetensors'))!r}, {{'format': 'pt'}})"
    )
    return f"python -P -c {shlex.quote(code)}"


def _unpack(file: Path, beside: Path, final: Path) -> None:
    entries, metadata = read_tensor_header(file)
    found = read_single_file(entries, metadata, str(file))
    configs = _choose_configs(file, beside, found)
    partial = final.parent.with_name(f"{final.parent.name}-{uuid.uuid4().hex[:8]}.tmp")
    folder = partial / final.name
    try:
        folder.mkdir(parents=True)
        for name, config in configs.items():
            (folder / name).parent.mkdir()
            (folder / name).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        _write_tokenizer(folder / "tokenizer", file, beside / "tokenizer", found)
        say(f"{file}: unpacked once into {final}")
        _write_parts(folder, entries, configs["text_encoder/config.json"])
        index = {
            "_class_name": f"StableDiffusion{'Inpaint' if found.in_channels == 9 else ''}Pipeline",
            **_CLASSES,
            "scheduler": ["diffusers", configs[_SCHEDULER]["_class_name"]],
        }
        (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
        _give_name(partial, final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _give_name(partial: Path, final: Path) -> None:
    """Rename what is complete, unless somebody else was faster; what is broken there goes."""
    if not (final / "model_index.json").is_file():
        shutil.rmtree(final.parent, ignore_errors=True)
    try:
        partial.rename(final.parent)
    except OSError:
        if not (final / "model_index.json").is_file():
            raise


def _write_parts(folder: Path, entries: Mapping[str, TensorEntry], text: Mapping[str, Any]) -> None:
    for part in PREFIXES:
        layers = _count_layers(text) if part == "text_encoder" else None
        stem = weight_stem(_CLASSES[part][0])
        write_pieces(folder / part / f"{stem}.safetensors", find_pieces(entries, part, layers))


def _count_layers(text: Mapping[str, Any]) -> int:
    layers = text.get("num_hidden_layers")
    if not isinstance(layers, int):
        wanted, step = "a whole number", "take the config that save_pretrained wrote"
        raise FieldError("text_encoder/config.json: num_hidden_layers", layers, wanted, step)
    return layers


def _choose_configs(file: Path, beside: Path, found: SingleFile) -> dict[str, dict[str, Any]]:
    """The config of each part by its place in a diffusers folder."""
    own, family = {name: beside / name for name in _CONFIGS}, family_folder(found.family)
    if not found.is_stock and not all(path.is_file() for path in own.values()):
        raise InputError(
            f"the UNet of {file} must be the unpruned one of Stable Diffusion 1.x or 2.x, but its "
            "blocks, widths or text width are others, which a header does not say all of; put the "
            f"configs of its parts into {beside}: {', '.join(_CONFIGS)}"
        )
    prediction = _find_prediction(file, beside, found)
    configs = {
        name: read_json(path if path.is_file() else family / name) for name, path in own.items()
    }
    if not own["unet/config.json"].is_file():
        is_v = found.family == "sd2" and prediction == "v_prediction"
        larger = {"sample_size": 96, "upcast_attention": True} if is_v else {}
        configs["unet/config.json"] |= {"in_channels": found.in_channels, **larger}
    if (beside / _SCHEDULER).is_file():
        configs[_SCHEDULER] = read_json(beside / _SCHEDULER)
    else:
        said = {"prediction_type": prediction, "rescale_betas_zero_snr": found.zero_snr}
        configs[_SCHEDULER] = {**read_json(family / _SCHEDULER), **said}
    if not isinstance(configs[_SCHEDULER].get("_class_name"), str):
        where = f"{beside / _SCHEDULER}: _class_name"
        raise FieldError(where, None, "a scheduler of diffusers", "take it from a pipeline folder")
    return configs


def _find_prediction(file: Path, beside: Path, found: SingleFile) -> Prediction:
    """What the UNet predicts: a scheduler's config, the header or a YAML file says it.

    SD 1.x predicts the noise where nothing says otherwise; SD 2.x was published with either.
    """
    if (beside / _SCHEDULER).is_file():
        said = read_json(beside / _SCHEDULER).get("prediction_type", "epsilon")
        if (known := parse_prediction(str(said))) is not None:
            return known
    yaml = file.with_suffix(".yaml")
    if yaml.is_file() and (match := _SAID.search(read_text(yaml, LARGEST_JSON))):
        if (known := parse_prediction(match[1])) is None:
            step = "write eps or v"
            raise FieldError(f"{yaml}: parameterization", match[1], "'eps' or 'v'", step)
        return known
    if found.prediction is not None:
        return found.prediction
    if found.family == "sd2":
        raise InputError(
            f"{file} is a Stable Diffusion 2.x, which predicts the noise (512 pixels) or v (768), "
            f"and neither its header nor a file beside it says which; write the line "
            f"'parameterization: eps' or 'parameterization: v' into {yaml}"
        )
    return "epsilon"


def _write_tokenizer(target: Path, file: Path, beside: Path, found: SingleFile) -> None:
    """The vocabulary from beside the file or the hub's cache, and the family's settings of it."""
    target.mkdir()
    source = beside if beside.is_dir() else _find_vocabulary()
    names = _TOKENIZER if source == beside else _VOCABULARY
    held = [name for name in names if source is not None and (source / name).is_file()]
    if source is None or not ("tokenizer.json" in held or set(_VOCABULARY) <= set(held)):
        raise InputError(
            f"{file} needs the vocabulary of its text encoder, which no such file holds and "
            f"sdsearch does not bring: put vocab.json and merges.txt of {_VOCABULARIES[0]}, or the "
            f"tokenizer folder of any pipeline of the same family, into {beside}; or fetch them "
            f"into the hub's cache: hf download {_VOCABULARIES[0]} {' '.join(_VOCABULARY)}"
        )
    for name in held:
        shutil.copyfile(source / name, target / name)
    if "tokenizer_config.json" not in held:
        settings = family_folder(found.family) / "tokenizer" / "tokenizer_config.json"
        shutil.copyfile(settings, target / "tokenizer_config.json")


def _find_vocabulary() -> Path | None:
    found = (cached_folder(repository, _VOCABULARY[0]) for repository in _VOCABULARIES)
    return next((folder for folder in found if folder is not None), None)


def _list_beside(file: Path) -> list[list[object]]:
    """Names, sizes and times of the small files beside a single file that it is unpacked with."""
    beside, yaml = file.with_suffix(""), file.with_suffix(".yaml")
    names = (*_CONFIGS, _SCHEDULER, *(f"tokenizer/{name}" for name in _TOKENIZER))
    paths = [path for path in (*(beside / name for name in names), yaml) if path.is_file()]
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "sdsearch" / "single-files"
