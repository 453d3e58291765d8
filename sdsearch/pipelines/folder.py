"""A pipeline by what names it: its folder, the parts that it lists, and their files."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.errors import FieldError, InputError
from sdsearch.files import check_no_folder
from sdsearch.pipelines.hub import cached_folder, download_files, fetch_file
from sdsearch.pipelines.reading import check_pulled, read_json
from sdsearch.pipelines.single_file import unpack_single_file
from sdsearch.pipelines.weight_files import WeightFiles, choose_weights, shard_names

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SINGLE_FILES = (".safetensors", ".ckpt")
"""How names end of pipelines that are one file; the latter are refused."""
INDEX = "model_index.json"
"""Names the class of each part."""
CARD = "README.md"
"""States the licence that an export inherits."""
LICENCE_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "LICENSE-MODEL")
"""Names under which a pipeline has its licence's text, the likeliest first."""
_CLASSES: dict[str, dict[str, str]] = {
    "unet": {"UNet2DConditionModel": "diffusers"},
    "vae": {"AutoencoderKL": "diffusers", "AutoencoderTiny": "diffusers"},
    "text_encoder": {"CLIPTextModel": "transformers"},
    "tokenizer": {"CLIPTokenizer": "transformers", "CLIPTokenizerFast": "transformers"},
}
"""The classes that each part may have, with their library; a scheduler may have any."""
PARTS = (*_CLASSES, "scheduler")
_IMAGE_PROCESSORS = (
    "CLIPImageProcessor",
    "CLIPImageProcessorFast",
    "CLIPImageProcessorPil",
    "CLIPFeatureExtractor",
)
"""The names that releases have given to one and the same."""
_OPTIONAL_CLASSES: dict[str, dict[str, str]] = {
    "safety_checker": {"StableDiffusionSafetyChecker": "stable_diffusion"},
    "feature_extractor": dict.fromkeys(_IMAGE_PROCESSORS, "transformers"),
    "image_encoder": {"CLIPVisionModelWithProjection": "transformers"},
}
OPTIONAL_PARTS = tuple(_OPTIONAL_CLASSES)
"""What a pipeline paints the same without."""
_SUPPORTED = _CLASSES | _OPTIONAL_CLASSES
_CONFIGS = {
    "scheduler": "scheduler_config.json",
    "feature_extractor": "preprocessor_config.json",
}
_VOCABULARY = (
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
)
_SAVE_AGAIN = "save the pipeline again with save_pretrained"


@dataclass(frozen=True, slots=True)
class PipelineFolder:
    """A pipeline of which the needed files are on this machine.

    Attributes:
        name: what the user calls it: "tiny", a folder, a single file, or a hub id.
        folder: where it lies; of a hub id the snapshot in the hub's cache.
        index: what model_index.json says.
        revision: the commit of a hub id; None for any other.
    """

    name: str
    folder: Path
    index: Mapping[str, Any]
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a pipeline: the class that model_index.json names, and the files that it is.

    Attributes:
        name: such as "vae", which is its folder's name too.
        library: "diffusers" or "transformers"; "stable_diffusion" of a safety checker.
        class_name: of that library.
        folder: where its files lie.
        files: all files that are read to load it: config, vocabulary, index and weights.
        weights: the layout of its weights; None for what has none, such as a tokenizer.
    """

    name: str
    library: str
    class_name: str
    folder: Path
    files: tuple[Path, ...]
    weights: WeightFiles | None = None

    @property
    def weight_files(self) -> tuple[Path, ...]:
        """The files that hold its tensors; all shards, or one."""
        return tuple(self.folder / name for name in self.weights.names) if self.weights else ()


def locate_pipeline(name: str) -> Path | str:
    """The folder of a pipeline that is on this machine, or its hub id unchanged.

    Of a single file in the original layout it is the folder that the file is unpacked into.

    Raises:
        InputError: it is neither "tiny", nor a folder here, nor written as a hub id; or it is
            "tiny" where a pipeline's folder is called so; or a file that is none, or a pickle.
    """
    if name == "tiny":
        check_no_folder("a pipeline", name, "the teacher that comes with sdsearch", INDEX)
        return asset_path(TINY_TEACHER)
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        return folder
    if name and folder.is_file():
        return unpack_single_file(folder)
    if folder.suffix.lower() in SINGLE_FILES:
        raise InputError(f"a pipeline in one file must be there, but {name!r} is no file here")
    if _HUB_ID.fullmatch(name) and not name.startswith("."):
        return name
    raise InputError(
        f"a pipeline must be 'tiny', a local folder or a hub id, but {name!r} is no folder here; "
        "check the path, or write a hub id as owner/name"
    )


def open_pipeline(name: str, parts: Collection[str] = PARTS) -> PipelineFolder:
    """A pipeline by "tiny", a local diffusers folder, a single file or a hub id.

    Of a hub id the files that `parts` need are taken from the hub's cache where they are complete,
    and downloaded into it else; nothing more is downloaded than is read.

    Raises:
        InputError: it cannot be had, or is no diffusers pipeline.
    """
    place = locate_pipeline(name)
    if isinstance(place, Path):
        return PipelineFolder(name, place, _read_index(place))
    cached = cached_folder(place, INDEX)
    lacking = "it is not in the cache"
    if cached is not None:
        try:
            return _read_snapshot(name, cached, parts)
        except InputError as error:
            lacking = str(error)
    folder = download_files(
        place, INDEX, lambda index, names: _needed(index, names, parts), lacking
    )
    return _read_snapshot(name, folder, parts)


def _read_snapshot(name: str, folder: Path, parts: Collection[str]) -> PipelineFolder:
    """A pipeline in the hub's cache, of which each of `parts` is whole."""
    found = PipelineFolder(name, folder, _read_index(folder), folder.name)
    for part in parts:
        read_part(found, part)
    return found


def find_config(name: str, part: str) -> Path:
    """The config file of one part of a pipeline; of a hub id nothing else is fetched.

    Raises:
        InputError: it cannot be had.
    """
    place, file = locate_pipeline(name), f"{part}/{_CONFIGS.get(part, 'config.json')}"
    if isinstance(place, str):
        return fetch_file(place, file)
    _read_index(place)
    return place / file


def read_part(pipeline: PipelineFolder, name: str) -> Part:
    """A part of a pipeline, with the files that are read to load it.

    Raises:
        FieldError: model_index.json does not list it, or lists a class that is not supported.
        InputError: a file that it needs is missing or is not pulled, or its UNet is a pickle.
    """
    library, class_name = _class_of(pipeline.index, name)
    folder = pipeline.folder / name
    if not folder.is_dir():
        raise InputError(f"{folder} must be a folder, as {INDEX} lists it; {_SAVE_AGAIN}")
    beside = [path.name for path in folder.iterdir() if path.is_file()]
    weights = _weights(library, folder, beside)
    if name == "unet" and weights is not None and weights.pickled:
        raise InputError(
            f"the UNet's weights must be safetensors, but {folder} has pickles only, which are not "
            f"opened; convert them where you trust them: {conversion_command(folder, weights)}"
        )
    if weights is not None and weights.index is not None:
        shards = shard_names(folder, weights.index)
        weights = WeightFiles(weights.variant, weights.pickled, shards, weights.index)
    files = _files_of(folder, beside, weights)
    for file in files:
        check_pulled(folder / file)
    if name != "tokenizer":
        read_json(folder / files[0])
    return Part(name, library, class_name, folder, tuple(folder / one for one in files), weights)


def list_files(pipeline: PipelineFolder) -> tuple[tuple[str, Path], ...]:
    """Every file that is read when the parts of a pipeline are loaded, with the part's name.

    Raises:
        InputError: a part is not supported, or lacks a file.
    """
    return tuple((name, file) for name in PARTS for file in read_part(pipeline, name).files)


def read_index(name: str) -> dict[str, Any]:
    """What the model_index.json of a pipeline says; of a hub id nothing else is fetched.

    Raises:
        InputError: it cannot be had, or is of no diffusers pipeline.
    """
    place = locate_pipeline(name)
    return _read_index(place if isinstance(place, Path) else fetch_file(place, INDEX).parent)


def find_paper(name: str, *files: str) -> Path | None:
    """The first of some files that a pipeline on this machine has; nothing is downloaded.

    Raises:
        InputError: it is neither here nor written as a hub id.
    """
    place = locate_pipeline(name)
    folder = cached_folder(place, INDEX) if isinstance(place, str) else place
    found = [folder / file for file in files if (folder / file).is_file()] if folder else []
    return found[0] if found else None


def _read_index(folder: Path) -> dict[str, Any]:
    file = folder / INDEX
    if not file.is_file():
        raise InputError(f"a pipeline must be a diffusers folder, but {folder} has no {INDEX}")
    index = read_json(file)
    if not isinstance(index.get("_class_name"), str):
        raise InputError(
            f"{file} must name its pipeline's _class_name, but does not; {_SAVE_AGAIN}"
        )
    return index


def _class_of(index: Mapping[str, Any], name: str) -> tuple[str, str]:
    """Library and class of a part, as model_index.json names them."""
    entry, field = index.get(name), f"{INDEX}: {name}"
    named = isinstance(entry, list) and len(entry) == 2 and all(isinstance(e, str) for e in entry)
    if entry is None or not named:
        wanted = "[library, class]; a pipeline saved without it cannot be loaded"
        raise FieldError(field, entry, wanted, _SAVE_AGAIN)
    library, class_name = entry
    if name in _SUPPORTED and _SUPPORTED[name].get(class_name) != library:
        wanted = " or ".join(repr([home, one]) for one, home in _SUPPORTED[name].items())
        raise FieldError(field, entry, wanted, "no other class is supported for this part")
    return library, class_name


def _weights(library: str, folder: Path, names: Collection[str]) -> WeightFiles | None:
    """The weights of a part, of the names in its folder; None for a part without any."""
    if folder.name in ("tokenizer", "scheduler", "feature_extractor"):
        return None
    weights = choose_weights(names, library, safe_first=folder.name == "unet")
    if weights is None:
        raise InputError(f"{folder} must hold weights, but there are none; {_SAVE_AGAIN}")
    return weights


def conversion_command(folder: Path, weights: WeightFiles) -> str:
    """The command that writes a UNet's pickled weights as safetensors, beside the pickles."""
    variant = f", variant={weights.variant!r}" if weights.variant else ""
    place = repr(str(folder))
    code = (
        "from diffusers import UNet2DConditionModel as UNet; "
        f"UNet.from_pretrained({place}, use_safetensors=False{variant}).save_pretrained({place}"
        f"{variant})"
    )
    return f"python -P -c {shlex.quote(code)}"


def _files_of(folder: Path, names: Collection[str], weights: WeightFiles | None) -> list[str]:
    """Names of the files of a part that are read, of those in its folder; the config is first."""
    if folder.name == "tokenizer":
        found = [one for one in _VOCABULARY if one in names]
        if "tokenizer.json" not in found and not {"vocab.json", "merges.txt"} <= set(found):
            raise InputError(
                f"{folder} must hold tokenizer.json, or vocab.json and merges.txt, but does not; "
                f"{_SAVE_AGAIN}"
            )
        return found
    config = _CONFIGS.get(folder.name, "config.json")
    if config not in names:
        raise InputError(f"{folder} must hold {config}, but does not; {_SAVE_AGAIN}")
    index = [weights.index] if weights and weights.index else []
    return [config, *index, *(weights.names if weights else ())]


def _needed(index: Mapping[str, Any], names: Iterable[str], parts: Collection[str]) -> list[str]:
    """The files of a repository that `parts` need, of all that it has."""
    names = list(names)
    wanted = [one for one in (INDEX, CARD, *LICENCE_FILES) if one in names]
    for part in parts:
        library, _ = _class_of(index, part)
        beside = [one.removeprefix(f"{part}/") for one in names if one.startswith(f"{part}/")]
        weights = _weights(library, Path(part), beside)
        wanted += [f"{part}/{one}" for one in _files_of(Path(part), beside, weights)]
    return wanted
