"""Making a study: arguments become a commented study.toml, or meet one that says the same."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from sdsearch.api.study import Study
from sdsearch.console import say
from sdsearch.errors import InputError, nearest
from sdsearch.files import check_no_folder, write_once
from sdsearch.labels import MaskKind, Task
from sdsearch.model import FrozenModel
from sdsearch.space import search_space
from sdsearch.study import (
    StudyConfig,
    find_recipe,
    parse_config,
    read_study,
    warn_of_resolution,
)

_MASKS = re.compile(r"^masks = .*\n", re.MULTILINE)
_SECTION = re.compile(r"^\[([\w.]+)\]", re.MULTILINE)


def create_study(
    path: Path | str,
    *,
    teacher: Path | str = "tiny",
    images: Path | str | None = None,
    masks: Path | str | None = None,
    task: Task | None = None,
    prompts: Path | str | None = None,
    references: Path | str | None = None,
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
        teacher: "tiny" (comes with sdsearch), a diffusers folder or a hub id; two of its configs
            are read.
        images: the folder of photos to learn from and to measure on, or "scenes", the drawn ones of
            the tiny teacher; one of full size must be given photos.
        masks: the kind that is drawn, such as "mixed", or a folder with a mask for every photo.
        task: "inpaint", which is the default, or "text-to-image".
        prompts: for text-to-image, a file with one prompt a line, or JSONL; by default the captions
            of the photos are painted.
        references: for text-to-image, a folder of pictures, or an `.npz` file of statistics, that
            what is painted is compared with; by default the photos.
        space: a name such as "sd14", or the keys of `[space]`, such as {"name": "sd14", "labels":
            100}; by default "tiny" for the tiny teacher, else "sd14".
        budget: what a design may cost: a share of the teacher's parameters in (0, 1], or limits by
            resource, such as {"macs": {"share": 0.7}, "params": 500_000_000}; others are
            "memory_bytes", "file_bytes" and "latency_ms".
        **sections: keys of the other sections: `protocol`, `label`, `ranker`, `build`, `export`.

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
    file, recipe = Path(path) / "study.toml", find_recipe(str(teacher))
    protocol = {
        "task": task,
        "dataset": _photos(images),
        "masks": _masks(masks),
        "prompts": None if prompts is None else str(prompts),
        "references": None if references is None else str(references),
    }
    said = _sections(str(teacher), space, budget, protocol, sections)
    if recipe.needs_photos and "dataset" not in said["protocol"]:
        raise InputError(
            "a teacher of full size is measured on photos of the kind that it will paint; name "
            "their folder as images, or 'scenes' where nothing but the way is to be tried"
        )
    config = parse_config(_merge(recipe.values, said), file)
    search_space(config.space.name, resize_level_0=config.space.resize_level_0)
    template = _MASKS.sub("", recipe.template) if config.protocol.paints_words else recipe.template
    text = _write_toml(config, template, file)
    try:
        write_once(file, text)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise InputError(
            f"a study needs a folder, but {path} cannot be one: {error.strerror}; choose another"
        ) from None
    found = read_study(path)
    if found.config != config:
        there, wanted = (_flat(one.model_dump(mode="json")) for one in (found.config, config))
        differences = [
            f"{name} is {there.get(name)!r} there, not {wanted.get(name)!r}"
            for name in dict.fromkeys([*there, *wanted])
            if there.get(name) != wanted.get(name)
        ]
        raise InputError(
            f"{file} must say what this study is to be, but differs: {', '.join(differences)}; "
            "take it as it is with load_study, or choose another folder"
        )
    if warning := warn_of_resolution(config):
        say(warning)
    return Study(found)


def _sections(
    teacher: str,
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
        "teacher": {"pipeline": teacher},
        "space": {"name": "tiny" if teacher == "tiny" else "sd14", **named},
        "protocol": _set_apart(tables["protocol"], protocol),
        "build": {"budget": {}, **_set_apart(tables["build"], {"budget": limits})},
    }


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
            f"folder here; did you mean {nearest(str(masks), kinds)!r}?"
        )
    return _folder_text(folder, kinds)


def _folder_text(folder: Path, words: tuple[str, ...]) -> str:
    """A folder as study.toml names it: never by a word with a meaning of its own."""
    return f"./{folder}" if str(folder) in words else str(folder)


def _write_toml(config: StudyConfig, template: str, file: Path) -> str:
    """The text of a study.toml that says `config`, read back before anybody relies on it."""
    text = fill_template(template, _settings(config))
    try:
        if parse_config(tomllib.loads(text), file) == config:
            return text
        reason = "it reads back as another"
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    raise InputError(f"every value must be one that TOML can hold, but: {reason}; change it")


def _settings(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """What was set, by section and key, as study.toml writes it."""
    said = _set_fields(config)
    if "seed" in said:
        said.setdefault("protocol", {})["seed"] = said.pop("seed")
    return said


def _set_fields(model: FrozenModel) -> dict[str, Any]:
    """The fields that were set, as JSON data; defaults that a keyed model leaves out included."""
    said: dict[str, Any] = model.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    for name in model.model_fields_set:
        value = getattr(model, name)
        if isinstance(value, FrozenModel):
            said[name] = _set_fields(value)
        elif value is not None:
            said.setdefault(name, value)
    return said


def fill_template(template: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """A commented TOML file with these values; what it lacks is added at the end of its section.

    Sections are set apart by a blank line; one may be a table of another, such as [a.b].
    """
    left, blocks = dict(settings), []
    for section, dot, key in (header.partition(".") for header in _SECTION.findall(template)):
        if dot and key in left.get(section, {}):
            rest = dict(left.pop(section))
            left[f"{section}.{key}"] = rest.pop(key)
            left |= {section: rest} if rest else {}
    for block in template.rstrip().split("\n\n"):
        header = _SECTION.search(block)
        for key, value in left.pop(header[1], {}).items() if header else ():
            block = _set(block, key, value)
        blocks.append(block)
    for section, values in left.items():
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        blocks.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _set(block: str, key: str, value: Any) -> str:
    """A section's text with one setting, whose comment stays in its column if there is room.

    What says the same already is left as it is written.
    """
    setting = f"{key} = {_toml(value)}"

    def replaced(old: re.Match[str]) -> str:
        if tomllib.loads(old[0])[key] == value:
            return old[0]
        column = old.start(1) - old.start()
        return f"{setting.ljust(column - 1)} {old[1]}" if old[1] else setting

    pattern = re.compile(rf"^{key} = [^#\n]*(#.*)?$", re.MULTILINE)
    if not pattern.search(block):
        return f"{block}\n{setting}"
    return pattern.sub(replaced, block, count=1)


def _toml(value: Any) -> str:
    """A JSON value in TOML, on one line."""
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, by dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, one in value.items():
        found |= _flat(one, f"{name}.{key}".removeprefix("."))
    return found
