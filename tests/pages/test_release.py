"""What a release says of itself: its version, its date, and how to cite it."""

from __future__ import annotations

import re
import tomllib

import yaml

import sdsearch
from scripts.pages.links import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_one_version_is_said_everywhere() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[(\d[\w.]*)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert released is not None, "the changelog must have a dated version"
    assert (cited["version"], str(cited["date-released"])) == released.groups()
    assert released[1] == VERSION
    assert sdsearch.__version__ == VERSION, "another version is installed; run: scripts/test"


def test_the_citation_names_the_paper_and_no_address_that_nobody_has() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = yaml.safe_load(text)
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    (paper,) = cited["references"]
    assert paper["authors"][0]["family-names"] == "Mills"
    assert (paper["year"], paper["type"]) == (2024, "conference-paper")
    assert not re.search(r"https?:|doi|@", text)
