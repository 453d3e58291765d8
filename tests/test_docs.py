"""The examples in docs/ run as they stand."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.mark.parametrize("name", ["tour.md", pytest.param("scores.md", marks=pytest.mark.slow)])
def test_the_examples_of_a_page_print_what_it_says(name: str) -> None:
    failed, tried = doctest.testfile(str(DOCS / name), module_relative=False)
    assert tried > 5
    assert failed == 0
