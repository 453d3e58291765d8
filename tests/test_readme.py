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


def test_every_figure_of_the_readmes_table_stands_in_the_live_table() -> None:
    page = (ROOT / "docs" / "tiny-table.md").read_text(encoding="utf-8")
    rows = [line for line in README.splitlines() if line.startswith("|") and " ± " in line]
    figures = [figure for row in rows for figure in re.findall(r"[\d.]+ ± [\d.]+", row)]
    assert len(rows) == 9
    assert len(figures) > 40
    assert [figure for figure in figures if figure not in page] == []
