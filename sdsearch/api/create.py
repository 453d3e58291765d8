"""Making a study: arguments become a commented study.toml, or meet one that says the same."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdsearch.api.study import Study
from sdsearch.errors import InputError
from sdsearch.files import write_once
from sdsearch.pipelines import locate_pipeline
from sdsearch.space import search_space
from sdsearch.study import TEMPLATE, StudyConfig, parse_config, read_study

_SECTION = re.compile(r"^\[(\w+)\]", re.MULTILINE)


def create_study(
    path: Path | str,
    *,
    teacher: Path | str = "tiny",
    space: str | Mapping[str, Any] | None = None,
    budget: float | Mapping[str, Any] | None = None,
    **sections: Mapping[str, Any],
) -> Study:
    """Make a study: a folder with one study.toml that says everything, to be read and edited.

    Where the folder has a study already, it is loaded if its study.toml says the same, so that a
    script can be run again. `load_study` loads a study whatever it says.

    Args:
        path: the folder; made if it is missing.
        teacher: "tiny" (comes with sdsearch), a diffusers folder or a hub id.
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
        InputError: a value is invalid, or the folder holds a study that says something else; the
            section and the key are named.
    """
    file = Path(path) / "study.toml"
    config = parse_config(_sections(str(teacher), space, budget, sections), file)
    locate_pipeline(config.teacher.pipeline)
    search_space(config.space.name, resize_level_0=config.space.resize_level_0)
    text = _write_toml(config, file)
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
    return Study(found)


def _sections(
    teacher: str,
    space: str | Mapping[str, Any] | None,
    budget: float | Mapping[str, Any] | None,
    others: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """The arguments as study.toml would hold them."""
    named: Any = {"name": space} if isinstance(space, str) else {} if space is None else space
    build: Any = others.get("build", {})
    for name, said in (("space", named), ("build", build)):
        if not isinstance(said, Mapping):
            raise InputError(f"{name} must map keys of [{name}] to values, but is {said!r}")
    if budget is None:
        build = {"budget": {}, **build}
    elif "budget" in build:
        raise InputError(
            f"a study has one budget, but was given {budget!r} and in build {build['budget']!r}; "
            "leave one out"
        )
    else:
        limits = budget if isinstance(budget, Mapping) else {"params": {"share": budget}}
        build = {**build, "budget": limits}
    return {
        **others,
        "teacher": {"pipeline": teacher},
        "space": {"name": "tiny" if teacher == "tiny" else "sd14", **named},
        "build": build,
    }


def _write_toml(config: StudyConfig, file: Path) -> str:
    """The text of a study.toml that says `config`, read back before anybody relies on it."""
    text = fill_template(TEMPLATE, _settings(config))
    try:
        if parse_config(tomllib.loads(text), file) == config:
            return text
        reason = "it reads back as another"
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
    raise InputError(f"every value must be one that TOML can hold, but: {reason}; change it")


def _settings(config: StudyConfig) -> dict[str, dict[str, Any]]:
    """What was set, by section and key, as study.toml writes it."""
    said: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if "seed" in said:
        said.setdefault("protocol", {})["seed"] = said.pop("seed")
    return said


def fill_template(template: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
    """A commented TOML file with these values; what it lacks is added at the end of its section.

    Sections are set apart by a blank line.
    """
    left, blocks = dict(settings), []
    for block in template.rstrip().split("\n\n"):
        header = _SECTION.search(block)
        for key, value in left.pop(header[1], {}).items() if header else ():
            block = _set(block, key, f"{key} = {_toml(value)}")
        blocks.append(block)
    for section, values in left.items():
        lines = [f"{key} = {_toml(value)}" for key, value in values.items()]
        blocks.append("\n".join([f"[{section}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def _set(block: str, key: str, setting: str) -> str:
    """A section's text with one setting, whose comment stays in its column if there is room."""

    def replaced(old: re.Match[str]) -> str:
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
