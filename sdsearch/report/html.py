"""HTML that a notebook shows for a value: one small table, all text escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def html_table(
    caption: str,
    rows: Iterable[Sequence[str]],
    header: Sequence[str] = (),
    notes: Iterable[str] = (),
) -> str:
    """A table whose first column names its rows; the notes stand below it.

    >>> html_table("costs", [("params", "<1")])
    '<table><caption>costs</caption><tr><th scope="row">params</th><td>&lt;1</td></tr></table>'
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption>{f'<tr>{head}</tr>' if head else ''}{body}"
        f"</table>{''.join(f'<p>{escape(note)}</p>' for note in notes)}"
    )
