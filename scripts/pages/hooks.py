"""The door of mkdocs: here it asks for pages that are not in docs/, and for links that it knows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

from scripts.pages.site import DOCS, PICTURES, make_pages, place_pages, turn_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the menu's folders, which end in "/", with their pages in order."""
    made = {str(place) for place in make_pages(ROOT)}
    written = {file.relative_to(ROOT / DOCS).as_posix() for file in (ROOT / DOCS).rglob("*.md")}
    config.nav = _fill(config.nav, sorted(made | written))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, in place of the notebooks that some of them come from."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(notebook)
    for place, (_, text) in make_pages(ROOT).items():
        files.append(File.generated(config, str(place), content=text))
    for path, place in PICTURES.items():
        files.append(File.generated(config, str(place), abs_src_path=str(ROOT / path)))
    return files


def _fill(entry: object, pages: Sequence[str]) -> Any:
    if isinstance(entry, list):
        return [_fill(one, pages) for one in entry]
    if isinstance(entry, dict):
        return {title: _fill(one, pages) for title, one in entry.items()}
    if isinstance(entry, str) and entry.endswith("/"):
        return [page for page in pages if page.startswith(entry)]
    return entry


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links of the repository into those of the site."""
    places = place_pages(ROOT)
    paths = {str(place): path for path, place in places.items()}
    path = paths.get(page.file.src_uri, DOCS / PurePosixPath(page.file.src_uri))
    return turn_links(markdown, path, {**places, **PICTURES})
