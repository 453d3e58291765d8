"""The reference of study.toml: every key with its type, default and meaning, from the models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf

from scripts.pages.docstrings import escape, say_fields
from sdsearch.labels import Target
from sdsearch.model import FrozenModel
from sdsearch.space.budget import Share
from sdsearch.study import StudyConfig

HEAD = """\
# Every key of study.toml

*Made from the code by `python scripts/make_reference.py`.*

Every key has a default, and an unknown one is an error that names the nearest. `sdsearch init`
writes a file with comments and with the values that suit your teacher, which may differ from the
defaults below.
"""
LISTS = ("label.rungs",)
"""Sections that study.toml has as a list of tables."""
_WORDS = {bool: "`true` or `false`", int: "whole number", float: "number", str: "text"}
_WORDS |= {Target: "text", Share: "`{ share = S }`", type(None): "left out"}
_SIGNS = ((Ge, "ge", "≥"), (Gt, "gt", "&gt;"), (Le, "le", "≤"), (Lt, "lt", "&lt;"))


@dataclass(frozen=True, slots=True)
class Key:
    """A key of study.toml.

    Attributes:
        section: of the file, such as "protocol.recovery".
        name: in its section.
        kind: what it may be, in Markdown.
        default: as TOML.
        meaning: in words.
    """

    section: str
    name: str
    kind: str
    default: str
    meaning: str


def describe_keys() -> str:
    """The page: a table for each section.

    >>> "| `labels` | whole number ≥ 1 | `68` |" in describe_keys()
    True
    """
    keys = list_keys()
    parts = [HEAD]
    for section in dict.fromkeys(key.section for key in keys):
        rows = [
            f"| `{key.name}` | {key.kind} | {key.default} | {key.meaning} |"
            for key in keys
            if key.section == section
        ]
        head = "| key | type | default | meaning |\n|---|---|---|---|"
        title = f"[[{section}]]" if section in LISTS else f"[{section}]"
        parts.append("\n".join([f"## {title}", "", head, *rows, ""]))
    return "\n".join(parts)


def list_keys() -> list[Key]:
    """All keys, in the order of the models; the label seed stands where study.toml has it."""
    keys = _keys_of("", StudyConfig())
    (seed,) = (key for key in keys if not key.section)
    keys.remove(seed)
    last = max(place for place, key in enumerate(keys) if key.section == "protocol")
    moved = Key("protocol", seed.name, seed.kind, seed.default, seed.meaning)
    return [*keys[: last + 1], moved, *keys[last + 1 :]]


def _keys_of(section: str, value: FrozenModel) -> list[Key]:
    """Keys of a section and then of those below it; `value` has their defaults.

    Raises:
        ValueError: the docstring of a model does not say what a field means.
    """
    own, below = [], []
    said = say_fields(type(value))
    for name, field in type(value).model_fields.items():
        if name not in said:
            raise ValueError(f"{type(value).__name__} must say what {name} is, under Attributes:")
        default = getattr(value, name)
        inner = f"{section}.{name}".lstrip(".")
        if isinstance(default, FrozenModel):
            below += _keys_of(inner, default)
            continue
        kind, default = _say_kind(field.annotation, field.metadata), _say_default(default)
        meaning = escape(said[name]).replace("|", "\\|")
        own.append(Key(section, name, kind, default, meaning[0].upper() + meaning[1:]))
        models = [part for part in get_args(field.annotation) if _is_model(part)]
        below += [key for model in models for key in _keys_of(inner, model())]
    return own + below


def _is_model(kind: object) -> bool:
    """Whether it is the model of tables in a list; a share is a way to write a number."""
    return isinstance(kind, type) and issubclass(kind, FrozenModel) and kind is not Share


def _say_kind(kind: Any, limits: list[Any]) -> str:
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        return _say_kind(kind, [*limits, *more])
    if get_origin(kind) is Literal:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in get_args(kind))
    if get_origin(kind) in (Union, UnionType):
        return ", or ".join(_say_kind(part, limits) for part in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_say_kind(get_args(kind)[0], [])}"
    if _is_model(kind):
        return "tables"
    if kind not in _WORDS:
        raise ValueError(f"a key's type must have a word in _WORDS, but {kind} has none; add one")
    return " ".join([_WORDS[kind], *(_say_limits(limits) if kind in (int, float) else ())])


def _say_limits(limits: list[Any]) -> list[str]:
    """Limits of a number; pydantic keeps those of a field, and `Field` those of a union's part."""
    flat = [one for limit in limits for one in getattr(limit, "metadata", [limit])]
    bounds = [
        f"{sign} {getattr(limit, name):,}"
        for limit in flat
        for kind, name, sign in _SIGNS
        if isinstance(limit, kind)
    ]
    steps = [f"a multiple of {one.multiple_of}" for one in flat if isinstance(one, MultipleOf)]
    return [" and ".join([*bounds, *steps])] if bounds or steps else []


def _say_default(value: object) -> str:
    """A default as TOML writes it."""
    if value is None:
        return "left out"
    if isinstance(value, Target):
        value = value.expression
    if isinstance(value, tuple):
        tables = [one for one in value if isinstance(one, FrozenModel)]
        return "one table, as below" if tables else f"`{json.dumps(value)}`"
    return f"`{json.dumps(value)}`"
