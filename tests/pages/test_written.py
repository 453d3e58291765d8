"""Pages that are written by hand: the questions and the notebook."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import pytest

import sdsearch
from scripts.pages.links import ROOT, links_of

if TYPE_CHECKING:
    from pathlib import Path


def test_twelve_questions_are_answered_in_two_lines_with_a_link() -> None:
    page = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    _, *parts = page.split("\n## ")
    assert len(parts) == 12
    for part in parts:
        question, *answer = part.strip().splitlines()
        assert question.endswith("?")
        assert len(answer) == 2, question
        assert links_of(part), question


def run_cells(notebook: Path) -> tuple[dict[str, Any], list[object]]:
    """Run a notebook's code as a kernel would: the names at the end, and what each cell shows."""
    names: dict[str, Any] = {}
    shown = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [], "clear the outputs of all cells before you commit"
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, notebook.name, "exec"), names)  # noqa: S102 (it is a page of ours)
        if isinstance(last, ast.Expr):
            code = compile(ast.Expression(last.value), notebook.name, "eval")
            shown.append(eval(code, names))  # noqa: S307 (it is a page of ours)
    return names, shown


@pytest.mark.slow
def test_the_notebook_runs_and_shows_tables_and_a_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names, shown = run_cells(ROOT / "docs" / "tutorials" / "first-study.ipynb")
    study, labels, reason, designs, best, is_built = shown
    assert "<table" in study._repr_html_()  # type: ignore[attr-defined]
    assert labels.loc["count", "fd_efflite0"] > 50  # type: ignore[attr-defined]
    assert isinstance(reason, str)
    assert "autobuild-1" in designs.index  # type: ignore[attr-defined]
    assert best._repr_svg_().startswith("<svg")  # type: ignore[attr-defined]
    assert is_built is True
    assert names["best"].params < sdsearch.unet_cost("teacher", "tiny").params
