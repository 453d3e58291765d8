"""The text of a study.toml: a commented template, filled in with what a study is to say."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.model import FrozenModel
from sdsearch.study import parse_config

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyConfig

_SECTION = re.compile(r"^\[([\w.]+)\]", re.MULTILINE)


def write_toml(config: StudyConfig, template: str, file: Path) -> str:
    """The text of a study.toml that says `config`, read back before anybody relies on it.

    Raises:
        InputError: a value is none that TOML can hold.
    """
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
