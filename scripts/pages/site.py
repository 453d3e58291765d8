"""What the site holds beside docs/: pages of the root, notebooks, the reference of Python names.

Pages are written for the repository, where their links lead to files. Here links are turned to
where the same things are in the site; what is not there, such as code, keeps its name alone.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import PurePosixPath as Place
from typing import TYPE_CHECKING

from scripts.pages.names import describe_room, describe_rooms, list_rooms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DOCS = Place("docs")
ROOT_PAGES = {
    Place("CHANGELOG.md"): Place("project/changelog.md"),
    Place("CONTRIBUTING.md"): Place("project/contributing.md"),
    Place("SECURITY.md"): Place("project/security.md"),
}
"""Pages of the root, and where the site has them."""
PICTURES = {Place("assets/tiny-comparison.png"): Place("pictures/tiny-comparison.png")}
"""Pictures from elsewhere than docs/, and where the site has them."""
MEASURED = "benchmarks"
"""The folder whose pages are what was measured."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^]]*\])*)\]\(([^)\s]+)\)")


def place_pages(root: Path) -> dict[Place, Place]:
    """The pages that come from elsewhere than docs/*.md: path -> place in the site."""
    places = dict(ROOT_PAGES)
    for file in sorted((root / MEASURED).glob("*.md")):
        places[Place(MEASURED, file.name)] = Place("measured", file.name)
    for file in sorted((root / "docs").rglob("*.ipynb")):
        path = Place(file.relative_to(root).as_posix())
        places[path] = path.relative_to(DOCS).with_suffix(".md")
    return places


def make_pages(root: Path) -> dict[Place, tuple[Place, str]]:
    """Place in the site -> the path that a page comes from, and its Markdown as it is there."""
    pages = {}
    for path, place in place_pages(root).items():
        text = (root / path).read_text(encoding="utf-8")
        pages[place] = (path, show_notebook(text) if path.suffix == ".ipynb" else text)
    python = Place("reference/python")
    pages[python / "index.md"] = (DOCS / python / "index.md", describe_rooms())
    for room in list_rooms():
        pages[python / f"{room}.md"] = (DOCS / python / f"{room}.md", describe_room(room))
    return pages


def turn_links(text: str, path: Place, places: Mapping[Place, Place]) -> str:
    """A page's Markdown with its links as the site needs them.

    `path` is the page's own in the repository, `places` those of `place_pages`.

    >>> places = {Place("CHANGELOG.md"): Place("project/changelog.md")}
    >>> page = "[a](../CHANGELOG.md#x), [b](../sdsearch/), [c](d.md)"
    >>> turn_links(page, Place("docs/p.md"), places)
    '[a](project/changelog.md#x), b, [c](d.md)'
    """
    here = _place_of(path, places) or path

    def turn(link: re.Match[str]) -> str:
        mark, words, target = link.groups()
        if target.startswith(("#", "http:", "https:")):
            return link[0]
        aim, sign, anchor = target.partition("#")
        place = _place_of(Place(os.path.normpath(path.parent / aim)), places)
        if place is None:
            return words
        return f"{mark}[{words}]({os.path.relpath(place, here.parent)}{sign}{anchor})"

    blocks = re.split(r"(^ *```.*?^ *```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        block if place % 2 else _LINK.sub(turn, block) for place, block in enumerate(blocks)
    )


def _place_of(path: Place, places: Mapping[Place, Place]) -> Place | None:
    """Where the site has what lies at a path of the repository."""
    if path in places:
        return places[path]
    is_file = path.suffix != ""
    return path.relative_to(DOCS) if is_file and path.is_relative_to(DOCS) else None


def show_notebook(text: str) -> str:
    r"""A notebook's cells as Markdown; its outputs are made where it is run.

    >>> show_notebook('{"cells": [{"cell_type": "code", "source": ["1 + 1"]}]}')
    '```python\n1 + 1\n```\n'
    """
    shown = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        shown.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    return "\n\n".join(shown) + "\n"
