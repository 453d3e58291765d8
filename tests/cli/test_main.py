from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from sdsearch.assets import TINY_TEACHER, asset_path
from sdsearch.cli import main as cli

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("torch", "numpy", "pydantic", "diffusers", "transformers", "rich.progress", "PIL")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sdsearch", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def write_study(folder: Path, toml: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(toml)
    return str(folder)


def test_the_space_of_sd14_is_printed_with_its_members_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "space", "--space", "sd14", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["size"] == 704_000
    assert {name: member["params"] for name, member in said["members"].items()} == {
        "teacher": 859_520_964,
        "bk-base": 579_384_964,
        "bk-small": 482_346_884,
        "bk-tiny": 323_384_964,
    }


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import sys
sys.argv = ["sdsearch", "--help"]
from sdsearch.cli.main import main
try:
    main()
except SystemExit:
    pass
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"--help imported {{heavy}}" if heavy else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sdsearch run study" in done.stdout


@pytest.mark.parametrize(
    ("toml", "command", "said"),
    [
        ("[protocol]\nstepz = 3\n", "sample", "did you mean 'steps'"),
        ('[space]\nname = "sd15"\n', "sample", "sd14"),
        ('[teacher]\npipeline = "./nowhere"\n', "label", "is no folder here"),
        ('[teacher]\npipeline = "./nowhere"\n', "run", "is no folder here"),
        ("[protocol\n", "run", "valid TOML"),
    ],
)
def test_a_wrong_study_is_one_error_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
    command: str,
    said: str,
) -> None:
    assert run(monkeypatch, command, write_study(tmp_path / "study", toml)) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("error") == 1
    assert "Traceback" not in shown


def test_an_unknown_precision_is_one_error_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "latency", str(tmp_path / "table.json"), "--dtype", "int8") == 2
    said = "error: --dtype must be one of float32, float16, bfloat16, but is 'int8'"
    assert said in capsys.readouterr().err


def test_a_missing_study_is_one_error_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "fit", str(tmp_path / "none")) == 2
    assert "sdsearch init" in capsys.readouterr().err


def photos_study(folder: Path, masks: str = "box") -> str:
    """Four photographs at `folder`/photos and a study of them that measures one architecture."""
    photos = folder / "photos"
    photos.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (64, 64), (40 * number, 90, 120)).save(photos / f"{number}.png")
    return write_study(
        folder / "study",
        f'[space]\nlabels = 1\n[protocol]\ndataset = "{photos}"\nmasks = "{masks}"\nsamples = 4\n'
        "recovery = { steps = 0 }\n",
    )


@pytest.mark.slow
def test_an_unreadable_image_is_one_error_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    study = photos_study(tmp_path)
    (tmp_path / "photos" / "2.png").write_bytes(b"no picture")
    assert run(monkeypatch, "sample", study) == 0
    assert run(monkeypatch, "label", study) == 2
    shown = capfd.readouterr().err
    assert "2.png" in shown
    assert shown.count("error:") == 1
    assert "Traceback" not in shown


@pytest.mark.slow
def test_an_empty_mask_is_one_error_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for number in range(4):
        Image.new("L", (64, 64), 0).save(masks / f"{number}.png")
    study = photos_study(tmp_path, str(masks))
    assert run(monkeypatch, "sample", study) == 0
    assert run(monkeypatch, "label", study) == 2
    shown = capfd.readouterr().err
    assert "hole fraction" in shown
    assert "empty" in shown
    assert shown.count("error:") == 1


def test_the_tiny_table_is_refused_for_another_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toml = f'[teacher]\npipeline = "{asset_path(TINY_TEACHER)}"\n'
    study = write_study(tmp_path / "study", toml)
    assert run(monkeypatch, "label", study, "--import", "tiny") == 2
    assert "tiny teacher" in capsys.readouterr().err
