"""Making a study: arguments become a commented study.toml, or meet one that says the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from sdsearch.api.study import Study
from sdsearch.api.template import write_toml
from sdsearch.console import say
from sdsearch.errors import InputError, suggest
from sdsearch.files import check_no_folder, write_once
from sdsearch.labels import Crop, MaskKind, Task
from sdsearch.space import search_space
from sdsearch.study import (
    WORDS,
    StudyConfig,
    find_recipe,
    parse_config,
    preset_settings,
    read_backbone,
    read_preset,
    read_study,
    warn_of_resolution,
)

_MASKS = re.compile(r"^masks = .*\n", re.MULTILINE)


def create_study(
    path: Path | str,
    *,
    teacher: Path | str = "tiny",
    images: Path | str | None = None,
    masks: Path | str | None = None,
    crop: Crop | None = None,
    task: Task | None = None,
    prompts: Path | str | None = None,
    references: Path | str | None = None,
    preset: Path | str | None = None,
    inpaint: bool | Mapping[str, Any] = False,
    space: str | Mapping[str, Any] | None = None,
    budget: float | Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Study:
    """Make a study: a folder with one study.toml that says everything, to be read and edited.

    What no argument says is that teacher's recipe: for one of full size its own resolution, half
    precision, and the sampling and training that are usual for Stable Diffusion
    (`docs/guide-sd14.md`); for the tiny one the tiny benchmark. Another resolution than the
    teacher's is warned about on standard error.

    Where the folder has a study already, it is loaded if its study.toml says the same, so that a
    script can be run again. `load_study` loads a study whatever it says.

    Args:
        path: the folder; made if it is missing.
        teacher: "tiny" (comes with sdsearch), a diffusers folder, a `.safetensors` file in the
            original layout or a hub id; three of its configs are read.
        images: the folder of photos to learn from and to measure on, or "scenes", the drawn ones of
            the tiny teacher; one of full size must be given photos.
        masks: the kind that is drawn, such as "mixed", or a folder with a mask for every photo.
        crop: what of a photo is painted at the UNet's resolution: "whole", its centre square, which
            is the default, or "hole", a padded square around the hole.
        task: "inpaint", which is the default, or "text-to-image".
        prompts: for text-to-image, a file with one prompt a line, or JSONL; by default the captions
            of the photos are painted.
        references: for text-to-image, a folder of pictures, or an `.npz` file of statistics, that
            what is painted is compared with; by default the photos.
        preset: a benchmark, such as "coco-30k", or the `.toml` file of one, that says what no other
            argument says, and which files must be named (`docs/metrics.md`).
        inpaint: whether a teacher of 4 input channels, which paints from words, learns to inpaint
            first and is the teacher then (`Study.tune`); or the keys of `[teacher.tuning]`, such as
            {"steps": 5000}.
        space: a name such as "sd14", or the keys of `[space]`, such as {"name": "sd14", "labels":
            100}; by default "tiny" for the tiny teacher, else "sd14".
        budget: what a design may cost: a share of the teacher's parameters in (0, 1], or limits by
            resource, such as {"macs": {"share": 0.7}, "params": 500_000_000}; others are
            "memory_bytes", "file_bytes" and "latency_ms".
        **sections: keys of the other sections: `protocol`, `label`, `machine`, `ranker`, `build`,
            `export`, `report`.

    >>> import sdsearch, tempfile
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp(), "study")
    >>> study = sdsearch.create_study(folder, budget=0.6, build={"top": 2})
    >>> study.config.build.budget.params
    Share(share=0.6)
    >>> study == sdsearch.create_study(folder, budget=0.6, build={"top": 2})
    True
    >>> sdsearch.create_study(folder, budget=0.5, build={"top": 2})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sdsearch.errors.InputError: ... differs: build.budget.params.share is 0.6 there, not 0.5; ...

    Raises:
        InputError: a value is invalid, the teacher's configs cannot be had, or the folder holds a
            study that says something else; the section and the key are named.
    """
    inpaints = inpaint is not False
    file, recipe = Path(path) / "study.toml", find_recipe(str(teacher), inpaint=inpaints)
    protocol = {
        "task": task,
        "dataset": _photos(images),
        "masks": _masks(masks),
        "crop": crop,
        "prompts": _prompts(prompts),
        "references": _references(references),
    }
    said = _sections(_teacher(str(teacher), inpaint), space, budget, protocol, sections)
    chosen = {} if preset is None else _choose_preset(str(preset), said["protocol"])
    asked = said["protocol"].get("task", chosen.get("protocol", {}).get("task"))
    values = recipe.values
    if asked == "text-to-image":
        values = _merge(_without_masks(values), WORDS)
    if recipe.needs_photos and "dataset" not in said["protocol"]:
        raise InputError(
            "a teacher of full size is measured on photos of the kind that it will paint; name "
            "their folder as images, or 'scenes' where nothing but the way is to be tried"
        )
    config = parse_config(_merge(_merge(values, chosen), said), file)
    if inpaints:
        read_backbone(config)
    search_space(config.space.name, resize_level_0=config.space.resize_level_0)
    template = _MASKS.sub("", recipe.template) if config.protocol.paints_words else recipe.template
    text = write_toml(config, template, file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_once(file, text)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"a study needs a folder, but {path} cannot be one: {error.strerror}; choose another"
        ) from None
    found = read_study(path)
    if found.config != config:
        raise _tell_apart(file, found.config, config)
    if warning := warn_of_resolution(config):
        say(warning)
    return Study(found)


def _tell_apart(file: Path, found: StudyConfig, wanted: StudyConfig) -> InputError:
    """The error of a study.toml that says something else than was asked for."""
    there, asked = (_flat(one.model_dump(mode="json")) for one in (found, wanted))
    differences = [
        f"{name} is {there.get(name)!r} there, not {asked.get(name)!r}"
        for name in dict.fromkeys([*there, *asked])
        if there.get(name) != asked.get(name)
    ]
    return InputError(
        f"{file} must say what this study is to be, but differs: {', '.join(differences)}; "
        "take it as it is with load_study, or choose another folder"
    )


def _teacher(pipeline: str, inpaint: bool | Mapping[str, Any]) -> dict[str, Any]:
    """[teacher] as study.toml would hold it."""
    if inpaint is False:
        return {"pipeline": pipeline}
    tuning = {} if inpaint is True else {"tuning": dict(inpaint)}
    return {"pipeline": pipeline, "inpaint": True, **tuning}


def _sections(
    teacher: Mapping[str, Any],
    space: str | Mapping[str, Any] | None,
    budget: float | Mapping[str, Any] | None,
    protocol: Mapping[str, str | None],
    others: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The arguments as study.toml would hold them."""
    named: Any = {"name": space} if isinstance(space, str) else {} if space is None else space
    tables = {"space": named, **{name: others.get(name, {}) for name in ("protocol", "build")}}
    for name, table in tables.items():
        if not isinstance(table, Mapping):
            raise InputError(f"{name} must map keys of [{name}] to values, but is {table!r}")
    share = budget is None or isinstance(budget, Mapping)
    limits = budget if share else {"params": {"share": budget}}
    return {
        **others,
        "teacher": teacher,
        "space": {"name": "tiny" if teacher["pipeline"] == "tiny" else "sd14", **named},
        "protocol": _set_apart(tables["protocol"], protocol),
        "build": {"budget": {}, **_set_apart(tables["build"], {"budget": limits})},
    }


def _choose_preset(name: str, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What a preset says by section and key, once all the files are named that it needs."""
    preset = read_preset(name)
    if lacking := preset.find_lacking(protocol):
        wanted = "; ".join(f"{one}: {what}" for one, what in lacking.items())
        besides = f" (and have {'; '.join(preset.besides)})" if preset.besides else ""
        raise InputError(
            f"the preset {name!r}, {preset.about}, reads files of yours, but {', '.join(lacking)} "
            f"are not named; name {wanted}{besides}"
        )
    return preset_settings(name)


def _set_apart(table: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A section with the keys that have arguments of their own, each of which is said once."""
    given = {key: value for key, value in arguments.items() if value is not None}
    for key in given.keys() & table.keys():
        raise InputError(
            f"{key} must be said once, but is {given[key]!r} and, in its section, {table[key]!r}; "
            "leave one out"
        )
    return {**table, **given}


def _merge(values: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, and for all keys that it does not name, however deep, the given values."""
    merged = {**values, **said}
    for key in values.keys() & said.keys():
        if isinstance(values[key], Mapping) and isinstance(said[key], Mapping):
            merged[key] = _merge(values[key], said[key])
    return merged


def _without_masks(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe for a task that has no holes."""
    rest = {key: value for key, value in values["protocol"].items() if key != "masks"}
    return {**values, "protocol": rest}


def _photos(images: Path | str | None) -> str | None:
    if images is None:
        return None
    if str(images) == "scenes":
        check_no_folder("images", "scenes", "what is drawn for the tiny teacher")
        return "scenes"
    folder = Path(images).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"images must be a folder of photos, or 'scenes', but {str(folder)!r} is no folder here"
        )
    return _folder_text(folder, ("scenes",))


def _masks(masks: Path | str | None) -> str | None:
    kinds = get_args(MaskKind)
    if masks is None:
        return None
    if str(masks) in kinds:
        check_no_folder("masks", str(masks), "a kind of masks that are drawn")
        return str(masks)
    folder = Path(masks).expanduser()
    if not folder.is_dir():
        raise InputError(
            f"masks must be one of {', '.join(kinds)}, or a folder, but {str(folder)!r} is no "
            f"folder here{suggest(masks, kinds)}"
        )
    return _folder_text(folder, kinds)


def _prompts(prompts: Path | str | None) -> str | None:
    if prompts is None:
        return None
    file = Path(prompts).expanduser()
    if not file.is_file():
        raise InputError(
            f"prompts must be a file with one prompt a line, but {str(file)!r} is no file here; "
            "leave them out to paint the captions of the photos"
        )
    return _folder_text(file, ("captions",))


def _references(references: Path | str | None) -> str | None:
    if references is None:
        return None
    place = Path(references).expanduser()
    is_there = place.is_file() if place.suffix.lower() == ".npz" else place.is_dir()
    if not is_there:
        raise InputError(
            f"references must be a folder of pictures or an .npz file of statistics, but "
            f"{str(place)!r} is neither here; leave them out to compare with the photos"
        )
    return _folder_text(place, ("dataset",))


def _folder_text(folder: Path, words: tuple[str, ...]) -> str:
    """A folder or file as study.toml names it: never by a word with a meaning of its own."""
    return f"./{folder}" if str(folder) in words else str(folder)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, by dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, one in value.items():
        found |= _flat(one, f"{name}.{key}".removeprefix("."))
    return found
