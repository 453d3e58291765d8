"""What a new user sees of the command line, on a terminal of 80 columns."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import sdsearch
from sdsearch.cli.main import app

GROUP: Any = typer.main.get_command(app)
ORDER = (
    "init check plan run tune probe sample label fit score build compare export report recover app "
    "space latency bench"
)
BANNED = (
    r"anew|begun|go on with|goes on with|journey|aloud|without a word|is none|are none|told in|"
    r"\bis no\b|so that|\bmembers?\b|\blabels?\b"
)


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def help_of(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], prog_name="sdsearch")
    assert done.exit_code == 0, done.output
    return done.stdout


def test_every_summary_is_one_whole_line_of_80_columns_in_the_order_of_a_study() -> None:
    lines = help_of().splitlines()
    shown = [line for line in lines if re.fullmatch(r"  [a-z]+ {2,}[A-Z].*", line)]
    assert [line.split()[0] for line in shown] == ORDER.split()
    for line in shown:
        assert len(line) <= 80
        assert line.endswith("."), line


def test_commands_stand_in_groups() -> None:
    titles = [line for line in help_of().splitlines() if re.fullmatch(r"[A-Z].*:", line)]
    assert titles == [
        *("Options:", "Start a study:", "Run it:", "The steps of a run, one by one:"),
        *("Use the results:", "Without a study:"),
    ]


def test_a_narrower_terminal_wraps_summaries_and_cuts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert "..." not in help_of().replace("COMMAND [ARGS]...", "")


@pytest.mark.parametrize("command", [None, *ORDER.split()])
def test_the_short_option_shows_the_same_help(command: str | None) -> None:
    words = [command] if command else []
    short = CliRunner().invoke(app, [*words, "-h"], prog_name="sdsearch")
    assert (short.exit_code, short.stdout) == (0, help_of(*words))


@pytest.mark.parametrize("command", [None, *ORDER.split()])
def test_help_is_in_words_that_a_reader_knows(command: str | None) -> None:
    found = GROUP.commands[command] if command else GROUP
    said = " ".join([found.help, *(one.help for one in found.params)])
    prose = re.sub(r"`[^`]*`|--[\w-]+|\[[\w.]+\] \w+", " ", " ".join(said.split()))
    assert re.findall(BANNED, prose) == []


@pytest.mark.parametrize("command", ORDER.split())
def test_every_option_says_what_it_is_for(command: str) -> None:
    for one in GROUP.commands[command].params:
        assert one.help, f"{command} {one.name}"
        if one.param_type_name == "option" and not one.is_flag:
            shown = one.get_help_record(typer.Context(GROUP.commands[command]))[0]
            assert "range" not in shown, shown


def test_the_version_is_printed_alone() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"sdsearch {sdsearch.__version__}\n")


@pytest.mark.parametrize("line", [["-q", "-v", "report"], ["report", "-q", "--verbose"]])
def test_quiet_and_verbose_are_refused_together(line: list[str]) -> None:
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 2
    assert "cannot be combined" in done.stderr


def test_a_slip_is_answered_with_the_command_that_was_meant_and_nonsense_with_none() -> None:
    assert "Did you mean 'report'" in CliRunner().invoke(app, ["reprot"]).stderr
    assert "Did you mean" not in CliRunner().invoke(app, ["xyzzy"]).stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [("sdsearch re", {"report", "recover"}), ("sdsearch label --re", {"--retry-failed"})],
)
def test_a_shell_completes_commands_and_options(words: str, offered: set[str]) -> None:
    code = "import sys; sys.argv = ['sdsearch']; from sdsearch.cli.main import main; main()"
    environment = {
        "_SDSEARCH_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert offered <= set(done.stdout.split()), done.stderr
