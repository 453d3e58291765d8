"""The reference is made from the code: no key, command, option or public name is left out."""

from __future__ import annotations

import doctest
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.main import get_command

from scripts.make_reference import FOLDER, draw_reference
from scripts.pages.commands import describe_commands
from scripts.pages.docstrings import say_fields, to_markdown
from scripts.pages.keys import LISTS, describe_keys, list_keys
from scripts.pages.names import describe_room, describe_rooms, list_names, list_rooms
from sdsearch.cli.main import app
from sdsearch.model import FrozenModel
from sdsearch.study import StudyConfig, parse_config

if TYPE_CHECKING:
    from pydantic import BaseModel

LIGHT = ("sdsearch", "sdsearch.labels", "sdsearch.stats", "sdsearch.study", "sdsearch.unet")


def test_the_committed_reference_is_that_of_the_code() -> None:
    committed = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.md")}
    assert committed == draw_reference(), "run: python scripts/make_reference.py"


def keys_of(schema: dict[str, Any], defs: dict[str, Any], section: str = "") -> set[str]:
    """Dotted keys by the JSON schema, which pydantic makes: an implementation of its own."""
    found: set[str] = set()
    for name, said in schema["properties"].items():
        refs = re.findall(r"#/\$defs/(\w+)", str(said))
        below = [defs[ref] for ref in refs if "properties" in defs[ref] and ref != "Share"]
        path = f"{section}.{name}".lstrip(".")
        if not below or said.get("type") == "array":
            found.add("protocol.seed" if path == "seed" else path)
        for one in below:
            found |= keys_of(one, defs, path)
    return found


@pytest.mark.filterwarnings("ignore:Default value")  # a target has none that JSON could hold
def test_every_key_of_study_toml_is_in_the_reference() -> None:
    schema = StudyConfig.model_json_schema()
    wanted = keys_of(schema, schema["$defs"])
    assert {f"{key.section}.{key.name}" for key in list_keys()} == wanted
    assert len(wanted) > 100
    page = describe_keys()
    for path in wanted:
        section, _, name = path.rpartition(".")
        table = page.partition(f"[{section}]")[2].partition("\n## ")[0]
        assert f"| `{name}` |" in table, path


def test_a_study_toml_of_all_the_defaults_is_the_default_study() -> None:
    said: dict[str, list[str]] = {}
    for key in list_keys():
        if key.default.startswith("`"):
            said.setdefault(key.section, []).append(f"{key.name} = {key.default.strip('`')}")
    heads = {name: f"[[{name}]]" if name in LISTS else f"[{name}]" for name in said}
    text = "\n".join("\n".join([heads[name], *lines]) for name, lines in said.items())
    assert parse_config(tomllib.loads(text), Path("study.toml")) == StudyConfig()


def models_of(kind: type[BaseModel]) -> set[type[BaseModel]]:
    found = {kind}
    for field in kind.model_fields.values():
        if isinstance(field.default, FrozenModel):
            found |= models_of(type(field.default))
    return found


def test_no_docstring_of_settings_speaks_of_a_key_that_is_none() -> None:
    for kind in models_of(StudyConfig):
        assert set(say_fields(kind)) <= set(kind.model_fields), kind


def test_settings_that_do_not_say_what_a_key_means_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StudyConfig, "__doc__", "Nothing is said.")
    with pytest.raises(ValueError, match="StudyConfig must say what teacher is"):
        list_keys()


def test_every_command_and_option_is_in_the_reference() -> None:
    page = describe_commands()
    commands: dict[str, Any] = getattr(get_command(app), "commands", {})
    assert len(commands) > 15
    for name, command in commands.items():
        section = page.partition(f"## sdsearch {name}\n")[2].partition("\n## ")[0]
        assert section, name
        for param in command.params:
            if param.param_type_name == "option":
                assert param.opts[0] in section, (name, param.opts)


@pytest.mark.parametrize("room", list_rooms())
def test_every_public_name_of_a_room_is_in_the_reference(room: str) -> None:
    names = [name.name for name in list_names(room)]
    page = describe_room(room)
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == set(names)
    assert f"]({room}.md)" in describe_rooms()


@pytest.mark.parametrize("room", LIGHT)
def test_names_read_from_the_source_are_those_of_the_module(room: str) -> None:
    module = import_module(room)
    assert [name.name for name in list_names(room)] == list(module.__all__)
    for name in list_names(room):
        value = getattr(module, name.name)
        if isinstance(value, type) and name.said:
            assert (value.__doc__ or "").split() == name.said.split()


def test_sections_become_lists_and_only_code_may_look_like_a_tag() -> None:
    said = """Read a <file>, `<name>` of it.

    Args:
        path: where it lies,
            as text.

    Raises:
        InputError: it is missing.
    """
    assert to_markdown(said) == (
        "Read a &lt;file&gt;, `<name>` of it.\n\n"
        "**Args**\n\n- `path`: where it lies, as text.\n\n"
        "**Raises**\n\n- `InputError`: it is missing."
    )


@pytest.mark.parametrize("name", ["commands", "docstrings", "keys", "names"])
def test_the_examples_of_the_generator_print_what_they_say(name: str) -> None:
    failed, tried = doctest.testmod(import_module(f"scripts.pages.{name}"))
    assert tried > 0
    assert failed == 0
