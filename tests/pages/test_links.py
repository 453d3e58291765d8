"""Every link of README, docs and the other pages leads somewhere."""

from __future__ import annotations

import doctest
import re
from typing import TYPE_CHECKING

import pytest

from scripts.pages import links
from scripts.pages.links import ROOT, find_broken, list_pages

if TYPE_CHECKING:
    from pathlib import Path

UNLINKED = re.compile(r"`((?:docs|benchmarks)/[\w./-]+\.md(?:#[\w-]+)?)`")
HISTORY = ("CHANGELOG.md",)
"""What was said at its time; its pages may have other names by now."""


def test_every_link_of_every_page_leads_somewhere() -> None:
    assert len(list_pages()) > 50
    assert [str(one) for one in find_broken()] == []


def test_a_page_that_is_named_is_linked() -> None:
    named = [
        f"{page}: {name}"
        for page in list_pages()
        if page.name not in HISTORY
        for name in UNLINKED.findall((ROOT / page).read_text(encoding="utf-8"))
        if (ROOT / name.partition("#")[0]).is_file()
        and f"[`{name}`]" not in (ROOT / page).read_text(encoding="utf-8")
    ]
    assert named == []


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("[gone](gone.md)", "no such file"),
        ("[gone](docs/other.md#gone)", "no such heading"),
        ("[here](#gone)", "no such heading"),
        ("![gone](docs/gone.png)", "no such file"),
        ("[out](../../etc/hosts)", "out of the repository"),
        ("[web](https://example.org)", "docs/links.md alone"),
        ('<img src="gone.png">', "no such file"),
        ("[name]: gone.md", "no such file"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, written: str, why: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# Another page\n## Twice\n## Twice\n")
    (tmp_path / "README.md").write_text(f"# Title\n\n{written}\n")
    (broken,) = find_broken(tmp_path)
    assert why in broken.why
    assert str(broken).startswith("README.md: ")


def test_links_that_hold_and_those_in_code_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# `a/`, *b* & c\n## Twice\n## Twice\n")
    (tmp_path / "docs" / "links.md").write_text("- [one](https://example.org)\n")
    (tmp_path / "README.md").write_text(
        "# Title\n[a](docs/other.md#a-b--c) [b](docs/other.md#twice-1) [c](#title) [d](docs)\n"
        "`[no](gone.md)`\n\n```md\n[no](gone.md)\n```\n"
    )
    assert find_broken(tmp_path) == []


def test_an_address_of_the_web_stands_once(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    address = "[one](https://example.org)"
    (tmp_path / "docs" / "links.md").write_text(f"{address} {address}\n")
    (broken,) = find_broken(tmp_path)
    assert "twice" in broken.why


def test_the_examples_print_what_they_say() -> None:
    failed, tried = doctest.testmod(links)
    assert (failed, tried) == (0, 2)
