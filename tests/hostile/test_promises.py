"""Every promise of SECURITY.md names tests, and they exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_promise_names_a_test_that_exists():
    promises = re.findall(r"^\| ([A-Z].*) \| (.*) \|$", PAGE, re.MULTILINE)
    assert len(promises) >= 14
    for promise, said in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", said)
        assert named, promise
        assert said == ", ".join(f"`{file}::{name}`" for file, name in named), promise
        for file, name in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            functions = {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
            assert name in functions, f"{file} has no {name}"


def test_a_report_goes_to_the_repository_and_to_no_address():
    assert "private security advisory" in PAGE
    assert not re.search(r"\S+@\S+\.\w+|://", PAGE)
