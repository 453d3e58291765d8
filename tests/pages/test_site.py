"""What the site makes of pages that are written for the repository."""

from __future__ import annotations

import doctest
from pathlib import PurePosixPath as Place

import pytest

from scripts.pages import site
from scripts.pages.links import ROOT
from scripts.pages.site import make_pages, place_pages, show_notebook, turn_links

PLACES = {
    Place("CHANGELOG.md"): Place("project/changelog.md"),
    Place("benchmarks/small.md"): Place("measured/small.md"),
    Place("docs/tutorials/first.ipynb"): Place("tutorials/first.md"),
}


@pytest.mark.parametrize(
    ("page", "written", "turned"),
    [
        ("docs/a.md", "[x](b.md#c)", "[x](b.md#c)"),
        ("docs/a.md", "[x](#c)", "[x](#c)"),
        ("docs/a.md", "![x](b.png)", "![x](b.png)"),
        ("docs/how-to/a.md", "[x](../b.md)", "[x](../b.md)"),
        ("docs/how-to/a.md", "[x](../tutorials/first.ipynb)", "[x](../tutorials/first.md)"),
        ("docs/a.md", "[x](../benchmarks/small.md#y)", "[x](measured/small.md#y)"),
        ("CHANGELOG.md", "[x](docs/a.md#b)", "[x](../a.md#b)"),
        ("docs/a.md", "[`x/`](../sdsearch/)", "`x/`"),
        ("docs/a.md", "[x](decisions/)", "x"),
        ("docs/links.md", "[x](https://example.org)", "[x](https://example.org)"),
        ("docs/a.md", "```md\n[x](../gone.md)\n```", "```md\n[x](../gone.md)\n```"),
    ],
)
def test_links_lead_to_where_the_site_has_the_same_thing(
    page: str, written: str, turned: str
) -> None:
    assert turn_links(written, Place(page), PLACES) == turned


def test_the_site_has_pages_of_the_root_notebooks_and_every_room() -> None:
    made = make_pages(ROOT)
    assert {Place("project/changelog.md"), Place("tutorials/first-study.md")} <= set(made)
    assert len([place for place in made if place.match("reference/python/*")]) > 30
    taken = [place for place in place_pages(ROOT).values() if (ROOT / "docs" / place).exists()]
    assert taken == []


def test_a_notebook_is_shown_cell_by_cell() -> None:
    cells = (
        '{"cell_type": "markdown", "source": ["# Title\\n", "text"]}',
        '{"cell_type": "code", "source": ["a = 1\\n", "a"]}',
    )
    shown = show_notebook(f'{{"cells": [{", ".join(cells)}]}}')
    assert shown == "# Title\ntext\n\n```python\na = 1\na\n```\n"


def test_the_examples_print_what_they_say() -> None:
    failed, tried = doctest.testmod(site)
    assert (failed, tried) == (0, 4)
