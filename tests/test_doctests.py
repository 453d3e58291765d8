"""The examples in docstrings print what they say; `study` is one that has built a design."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

from sdsearch import Study
from tests.fakes import make_design, make_study, tiny_member, write_designs

ROOT = Path(__file__).resolve().parent.parent


def modules_with_examples() -> list[str]:
    """The dotted names of the modules of both packages that hold a `>>>`."""
    found = []
    for home, package in ((ROOT, "sdsearch"), (ROOT / "eval", "sdsearch_eval")):
        for file in sorted((home / package).rglob("*.py")):
            if ">>>" in file.read_text(encoding="utf-8"):
                parts = file.relative_to(home).with_suffix("").parts
                found.append(".".join(part for part in parts if part != "__init__"))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_the_examples_of_a_module_print_what_they_say(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # an example may write a study
    reason = "level0: depth 1, attention down 1 up 11"
    built = make_study(tmp_path / "built")
    write_designs(built, [make_design(tiny_member("bk-small"), "autobuild", 1, reason)])
    module = importlib.import_module(name)
    failed, tried = doctest.testmod(module, extraglobs={"study": Study(built)})
    assert tried > 0
    assert failed == 0
