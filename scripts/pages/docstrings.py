"""Docstrings in Google's style: as Markdown, and what they say of single fields."""

from __future__ import annotations

import inspect
import re
from itertools import groupby

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
_ITEM = re.compile(r"^(\*{0,2}[\w.]+): ?(.*)$", re.DOTALL)
_CODE = re.compile(r"(`+[^`]*`+)")
_PREFORMATTED = "\b"


def to_markdown(docstring: str) -> str:
    r"""A docstring as Markdown: sections become lists, examples and what is laid out become code.

    >>> to_markdown("Add.\n\nArgs:\n    one: a number.")
    'Add.\n\n**Args**\n\n- `one`: a number.'
    """
    parts = []
    for block in _blocks(docstring):
        head, *rest = block
        if section := _SECTION.match(head):
            items = [_show_item(item) for item in _items(rest)]
            parts.append("\n".join([f"**{section[1]}**", "", *items]))
        elif head.startswith(">>>"):
            parts.append("\n".join(["```python", *block, "```"]))
        elif head == _PREFORMATTED:
            parts.append("\n".join(["```text", *rest, "```"]))
        elif head.startswith("    "):
            code = inspect.cleandoc("\n" + "\n".join(block)).splitlines()
            parts.append("\n".join(["```python", *code, "```"]))
        else:
            parts.append(escape("\n".join(block)))
    return "\n\n".join(parts)


def say_fields(kind: type) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each attribute; the nearest counts.

    >>> from sdsearch.labels import Rung
    >>> say_fields(Rung)["samples"]
    "the share of the protocol's samples."
    """
    said: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("sdsearch"):
            continue
        for head, *rest in _blocks(base.__dict__.get("__doc__") or ""):
            if head == "Attributes:":
                found = (_ITEM.match(item) for item in _items(rest))
                said |= {item[1]: item[2] for item in found if item}
    return said


def escape(text: str) -> str:
    """Prose in which only code may look like a tag."""
    parts = _CODE.split(text)
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace(">", "&gt;")
        for part in parts
    )


def _blocks(docstring: str) -> list[list[str]]:
    """Paragraphs as lines; one that goes on below its section's head belongs to the section."""
    lines = inspect.cleandoc(docstring).splitlines()
    paragraphs = [list(group) for full, group in groupby(lines, key=bool) if full]
    blocks: list[list[str]] = []
    for lines in paragraphs:
        if blocks and _SECTION.match(blocks[-1][0]) and lines[0].startswith("    "):
            blocks[-1] += lines
        else:
            blocks.append(lines)
    return blocks


def _items(lines: list[str]) -> list[str]:
    """What stands in a section, one item for each line that is indented once."""
    items: list[str] = []
    for line in lines:
        if items and line.startswith("        "):
            items[-1] += f" {line.strip()}"
        else:
            items.append(line.strip())
    return items


def _show_item(item: str) -> str:
    named = _ITEM.match(item)
    return f"- `{named[1]}`: {escape(named[2])}" if named else f"- {escape(item)}"
