"""What README.md tells users to type works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdsearch.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_and_script_of_the_readme_exists() -> None:
    known = {
        command.name or command.callback.__name__
        for command in app.registered_commands
        if command.callback
    }
    named = set(re.findall(r"^sdsearch (\w+)", README, re.MULTILINE))
    assert named
    assert named <= known
    for script in set(re.findall(r"^(scripts/\w+)", README, re.MULTILINE)):
        assert (ROOT / script).is_file()
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (ROOT / picture).is_file()
    for link in re.findall(r"`(docs/[\w./-]+)`", README):
        assert (ROOT / link).exists()


@pytest.mark.slow
def test_the_python_example_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert example
    file = tmp_path / "example.py"
    file.write_text(example[1])
    import runpy

    runpy.run_path(str(file))
    said = capsys.readouterr().out
    assert "autobuild-1" in said
    assert "evaluated uniform" in said
    assert "UNetCost(" in said


COLUMNS = (
    "At most 60 % of the teacher's parameters",
    "At most 45 % of the teacher's parameters",
    "At most 70 % of the teacher's multiply-accumulates",
)
ROWS = {
    "evaluated uniform, any size": "evaluated uniform",
    "evaluated, within budget": "evaluated, within budget",
    "exhaustive (all 704,000 predicted)": "exhaustive",
    "autobuild": "autobuild",
    "ridge": "ridge",
    "autobuild, as published": "autobuild-paper",
    "random": "random",
}


def live_table() -> dict[str, dict[str, list[str]]]:
    """docs/tiny-table.md: heading -> row -> its cells n, mean, best, params."""
    page = (ROOT / "docs" / "tiny-table.md").read_text(encoding="utf-8")
    found: dict[str, dict[str, list[str]]] = {}
    for part in page.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        rows = [cells_of(line) for line in text.splitlines() if line.startswith("| ")]
        found[heading] = {name: cells for name, *cells in rows}
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip().strip("*") for cell in line.strip("|").split("|")]


def readme_table() -> dict[str, list[str]]:
    lines = [line for line in README.splitlines() if line.startswith("| ") and " ± " in line]
    return {name: cells for name, *cells in map(cells_of, lines)}


def test_every_row_of_the_readmes_table_is_that_row_of_the_live_table() -> None:
    live, shown = live_table(), readme_table()
    assert set(shown) == {*ROWS, "teacher", "BK-SDM Base, Small, Tiny"}
    for name, row in ROWS.items():
        counts = [live[column][row][0] for column in COLUMNS]
        values = [cell for column in COLUMNS for cell in live[column][row][1:3]]
        assert shown[name][0] == ", ".join(dict.fromkeys(counts)), name
        assert shown[name][1:] == values, name


def test_the_readmes_table_has_the_teacher_and_the_published_members() -> None:
    live, shown = live_table()[COLUMNS[0]], readme_table()
    assert shown["teacher"] == ["1", live["teacher"][1], *[""] * 5]
    published = [live[name][1] for name in ("bk-base", "bk-small", "bk-tiny")]
    means = [float(value.split()[0]) for value in published]
    best = published[means.index(min(means))]
    mean = f"{sum(means) / 3:.2f}"
    assert shown["BK-SDM Base, Small, Tiny"] == ["3", mean, best, *[""] * 4]
