"""Which study a command works on, and how much it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.cli.options import locate_study
from sdsearch.console import is_quiet, is_verbose, say, speaking, working
from sdsearch.errors import InputError
from tests.fakes import make_study


def test_a_study_is_found_from_the_current_folder_upwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_study(tmp_path / "mine", "[space]\nlabels = 5\n").root
    deep = root / "labels" / "deep"
    deep.mkdir(parents=True)
    for place, said in ((root, "."), (root / "labels", ".."), (deep, "../..")):
        monkeypatch.chdir(place)
        assert locate_study(None) == Path(said)
        assert locate_study(None).resolve() == root
        shown = capsys.readouterr()
        assert (shown.out, str(root) in shown.err.replace("\n", "")) == ("", True)
    done = CliRunner().invoke(app, ["sample"])
    assert done.stdout == "chose 9 models: ../../architectures.jsonl\n"
    assert (root / "architectures.jsonl").is_file()


def test_a_folder_called_study_is_taken_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_study(tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    assert locate_study(None) == Path("study")
    make_study(tmp_path)
    with pytest.raises(InputError, match=r"both the current folder and \./study"):
        locate_study(None)
    assert locate_study(Path("study")) == Path("study")


def test_no_study_anywhere_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report"])
    assert isinstance(done.exception, InputError)
    assert "sdsearch init" in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_init_makes_a_study_here_and_looks_for_none_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = make_study(tmp_path)
    text = (above.root / "study.toml").read_text()
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert CliRunner().invoke(app, ["init"]).exit_code == 0
    assert Path("study/study.toml").is_file()
    assert (above.root / "study.toml").read_text() == text


def test_quiet_hides_progress_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with speaking("quiet"):
        say("step 1")
        say("this matters", always=True)
        with working("a while"):
            assert is_quiet()
    assert capsys.readouterr().err == "this matters\n"
    say("step 2")
    assert capsys.readouterr().err == "step 2\n"


def test_verbose_also_says_what_took_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with working("quick"):
        pass
    assert capsys.readouterr().err == ""
    with speaking("verbose"), working("quick"):
        assert is_verbose()
    assert capsys.readouterr().err == "quick: 0.0 s\n"


def test_how_much_is_said_ends_with_the_command(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 1\n").root
    for line in (["-q", "sample", str(study)], ["sample", "-q", str(study)]):
        done = CliRunner().invoke(app, line)
        assert (done.exit_code, done.stderr) == (0, "")
        assert not is_quiet()
