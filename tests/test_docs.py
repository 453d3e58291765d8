"""The examples in docs/ run as they stand."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from sdsearch.study.folder import read_study

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", ["tour.md", pytest.param("scores.md", marks=pytest.mark.slow)])
def test_the_examples_of_a_page_print_what_it_says(name: str) -> None:
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False)
    assert tried > 5
    assert failed == 0


def test_the_guides_study_is_a_valid_one(tmp_path: Path) -> None:
    page = (DOCS / "guide-sd14.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "study.toml").write_text(example)
    config = read_study(tmp_path).config
    assert (config.space.name, config.protocol.recovery.steps) == ("sd14", 300)
