"""Markdown: what others wrote is text in it, or code, and never a link, an image, HTML or a cell.

Everything that a template of ours writes comes by `as_markdown`, as its jinja `finalize`: a string
is text, unless the filter `code` has made a code span of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_ACTIVE = re.compile(r"[\\`*\[\]<>|~$]|&(?=[#\w])|(?<!\w)_|_(?!\w)|(?<=:)/(?=/)|(?<=www)\.")
"""What begins emphasis, code, links, HTML, cells, formulas, entities or addresses."""
_AT_START = re.compile(r"^(\s*\d*)((?<=\d)[.)](?=\s|$)|(?<!\d)[-+=](?=\s|[-+=])|(?<!\d)#)")
"""What begins a list, a heading or a rule as the first thing of a line."""
_LINES = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class _Code(str):
    """A code span, which is written as it is."""

    __slots__ = ()


def as_text(said: str) -> str:
    r"""One line of text that Markdown shows as it is.

    >>> as_text("[a](javascript:b) <i> |")
    '\\[a\\](javascript:b) \\<i\\> \\|'
    """
    line = _LINES.sub(" ", said)
    escaped = _ACTIVE.sub(r"\\\g<0>", line)
    return _AT_START.sub(r"\1\\\2", escaped)


def as_code(said: object) -> str:
    """A code span, whatever the text holds; `|` is a wider bar, which ends no cell.

    >>> as_code("a`b")
    '`` a`b ``'
    """
    line = _LINES.sub(" ", str(said)).replace("|", "\N{FULLWIDTH VERTICAL LINE}")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    if not longest:
        return _Code(f"`{line or ' '}`")
    fence = "`" * (longest + 1)
    return _Code(f"{fence} {line} {fence}")


def as_markdown(said: object) -> object:
    """What a template writes: strings as text, code spans and numbers as they are."""
    return as_text(said) if isinstance(said, str) and not isinstance(said, _Code) else said


def markdown_templates(package: str) -> Environment:
    """The templates of a package's folder `templates`, whose values are written by the above."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=as_markdown,
    )
    made.filters["code"] = as_code
    return made
