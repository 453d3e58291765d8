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


def read_verdicts() -> dict[str, dict[str, str]]:
    """docs/comparison.md: world -> rival -> difference, interval and word."""
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    primary = page.partition("## Primary endpoint")[2].partition("\n## ")[0]
    found: dict[str, dict[str, str]] = {}
    for world, text in re.findall(r"\*\*(\S+)\*\*: .*\n((?:\n?\|.*)+)", primary):
        rows = [cells_of(line) for line in text.splitlines() if line.startswith("|")]
        found[world] = {
            row[0]: f"{row[1]} {row[2]} {row[4]}".replace("%", "").strip() for row in rows[2:]
        }
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_verdict_of_the_readme_is_that_of_the_comparison() -> None:
    verdicts = read_verdicts()
    rows = [cells_of(line) for line in README.splitlines() if line.startswith("|")]
    (head,) = (row for row in rows if row[0] == "`autobuild` against")
    worlds = [cell.split("`")[1] for cell in head[2:]]
    assert worlds == list(verdicts)
    shown = {row[0].strip("`"): row[2:] for row in rows[rows.index(head) + 2 :][:4]}
    rivals = list(verdicts[worlds[0]])
    assert list(shown) == rivals
    for rival in rivals:
        assert shown[rival] == [verdicts[world][rival] for world in worlds]
