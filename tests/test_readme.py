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


BUDGETS = ("macs 70 %", "macs 60 %")
ROWS = {
    "`autobuild`, with the probe": "default",
    "`exhaustive`, the GNN without it": "exhaustive",
    "`one-shot`, the probe alone": "one-shot",
    "teacher, whole": "teacher",
}


def live_table() -> dict[str, dict[str, str]]:
    """docs/tiny-table.md: budget -> row -> its mean distance."""
    page = (ROOT / "docs" / "tiny-table.md").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = {}
    for part in page.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        rows = [cells_of(line) for line in text.splitlines() if line.startswith("| ")]
        assert rows[0][:2] == ["designs", "fd_efflite0"]
        found[heading] = {row[0]: row[1] for row in rows if len(row) == len(rows[0])}
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_row_of_the_readmes_table_is_that_row_of_the_live_table() -> None:
    live = live_table()
    shown = {
        cells[0]: cells[2:]
        for cells in map(cells_of, README.splitlines())
        if len(cells) == 4 and cells[0] in ROWS
    }
    assert shown.keys() == ROWS.keys()
    for name, row in ROWS.items():
        assert shown[name] == [live[budget][row] for budget in BUDGETS], name


def test_the_intervals_of_the_readme_are_those_of_the_live_table() -> None:
    page = (ROOT / "docs" / "tiny-table.md").read_text(encoding="utf-8")
    ahead, behind = re.findall(r"\| one-shot \| psnr_hole \| (\S+) \| \[(\S+), (\S+)\]", page)
    said = re.search(
        r"by (\S+) dB \[(\S+), (\S+)\] at 70 % and behind by (\S+) \[(\S+), (\S+)\]", README
    )
    assert said
    numbers = [abs(float(value)) for value in (*ahead, behind[0], behind[2], behind[1])]
    assert [float(value) for value in said.groups()] == [float(f"{value:.2f}") for value in numbers]
