"""The commands of a study are a thin layer over the public interface."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import sdsearch
from sdsearch.cli import main as cli
from sdsearch.errors import InputError
from sdsearch.space import Budget
from sdsearch.unet.backbone import SD14
from tests.fakes import full_geometry, make_design, make_study, tiny_member, write_designs

ROOT = Path(sdsearch.__file__).parent
COMMANDS = (
    "init plan probe run tune sample label fit score build recover export report space check "
    "latency bench compare app"
)


def stage_names(room: str) -> set[str]:
    """What the modules of a room import from the stages, by name."""
    return {
        alias.name
        for file in (ROOT / room).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sdsearch.stages")
        for alias in node.names
    }


def call(*arguments: str) -> str:
    done = CliRunner().invoke(cli.app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_are_these() -> None:
    found = [command.name or command.callback.__name__ for command in cli.app.registered_commands]
    assert sorted(found) == sorted(COMMANDS.split())


def test_init_writes_what_create_study_does_and_keeps_what_is_there(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    said = call("init", str(one), "--share", "0.6")
    assert said == f"wrote {one}/study.toml; next: sdsearch run {one}\n"
    assert sdsearch.create_study(other, budget=0.6).config == sdsearch.load_study(one).config
    text = (one / "study.toml").read_text()
    assert text == (other / "study.toml").read_text()
    for again in ([], ["--share", "0.6"]):
        said = call("init", str(one), *again)
        assert said == (
            f"{one}/study.toml already exists and was not changed; next: sdsearch run {one}\n"
        )
    done = CliRunner().invoke(cli.app, ["init", str(one), "--share", "0.5"])
    assert isinstance(done.exception, sdsearch.InputError)
    assert "ignored: --share 0.5 (build.budget.params is 0.6 there)" in str(done.exception)
    assert (one / "study.toml").read_text() == text


def test_init_limits_macs_beside_parameters_or_alone(tmp_path: Path) -> None:
    both, alone = tmp_path / "both", tmp_path / "alone"
    call("init", str(both), "--share", "0.6", "--macs-share", "0.7")
    call("init", str(alone), "--macs-share", "0.7")
    found = [sdsearch.load_study(path).config.build.budget for path in (both, alone)]
    shares = {"params": {"share": 0.6}, "macs": {"share": 0.7}}
    assert found == [Budget.model_validate(shares), Budget.model_validate({"macs": shares["macs"]})]
    done = CliRunner().invoke(cli.app, ["init", str(alone), "--macs-share", "0.5"])
    assert "ignored: --macs-share 0.5 (build.budget.macs is 0.7 there)" in str(done.exception)
    done = CliRunner().invoke(cli.app, ["init", str(alone), "--share", "0.5", "--space", "sd14"])
    assert "--space sd14 (space.name is tiny there), --share 0.5 (build.budget.params is not" in (
        str(done.exception)
    )


def test_init_for_a_full_size_teacher_writes_what_its_size_suggests(tmp_path: Path) -> None:
    teacher, photos, one = full_geometry(tmp_path / "my-sd"), tmp_path / "photos", tmp_path / "one"
    photos.mkdir()
    asked = ["--teacher", str(teacher), "--images", str(photos), "--masks", "thick"]
    said = call("init", str(one), *asked, "--space", "sd14-blocks", "--share", "0.6")
    assert said == f"wrote {one}/study.toml; next: sdsearch run {one}\n"
    other = sdsearch.create_study(
        tmp_path / "other",
        teacher=teacher,
        images=photos,
        masks="thick",
        space="sd14-blocks",
        budget=0.6,
    )
    assert (one / "study.toml").read_text() == (other.path / "study.toml").read_text()
    protocol = sdsearch.load_study(one).config.protocol
    assert (protocol.resolution, protocol.dtype) == (512, "float16")
    assert "was not changed" in call("init", str(one), *asked)
    for option, value, field in (
        ("--teacher", "tiny", "teacher.pipeline"),
        ("--images", "scenes", "protocol.dataset"),
        ("--masks", "mixed", "protocol.masks"),
        ("--crop", "hole", "protocol.crop"),
        ("--space", "sd14", "space.name"),
    ):
        done = CliRunner().invoke(cli.app, ["init", str(one), option, value])
        assert isinstance(done.exception, sdsearch.InputError)
        assert f"{option} {value} ({field} is " in str(done.exception)


def test_init_has_a_text_to_image_teacher_learn_to_inpaint(tmp_path: Path) -> None:
    words, one = full_geometry(tmp_path / "words", SD14), tmp_path / "one"
    asked = ["init", str(one), "--teacher", str(words), "--images", "scenes"]
    assert call(*asked, "--inpaint").startswith("wrote")
    assert sdsearch.load_study(one).config.teacher.inpaint
    assert "was not changed" in call(*asked, "--inpaint")
    assert call("init", str(tmp_path / "other"), *asked[2:]).startswith("wrote")
    done = CliRunner().invoke(cli.app, ["init", str(tmp_path / "other"), "--inpaint"])
    assert isinstance(done.exception, sdsearch.InputError)
    assert "teacher.inpaint is False there" in str(done.exception)


def test_the_sample_is_written_and_counted(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 5\n")
    said = call("sample", str(study.root))
    assert said == f"chose 9 models: {study.root}/architectures.jsonl\n"


def test_an_unknown_design_is_named_before_any_work(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    write_designs(study, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    done = CliRunner().invoke(cli.app, ["export", str(study.root), "--design", "autobild-1"])
    assert isinstance(done.exception, sdsearch.InputError)
    assert "did you mean 'autobuild-1'" in str(done.exception)


@pytest.mark.parametrize(
    ("asked", "reason", "missing"),
    [
        (["--push", "no name"], "must be owner/name", ""),
        (["--lora", "cut.safetensors"], "cut.safetensors", ""),
        (["--lora", "nowhere.safetensors"], "is no file", ""),
        (["--lora", "xl.safetensors"], "seems to be for Stable Diffusion XL", ""),
        (["--lora", "xl.safetensors"], "pip install peft", "peft"),
        (["--onnx"], "pip install onnx", "onnx"),
        (["--single-file-dtype", "float32"], "give that too", ""),
        (["--quantize", "int8"], "ONNX files, but they are not asked for", ""),
        (["--onnx", "--quantize", "fp4"], "quantised to int8, but not to 'fp4'", ""),
    ],
)
def test_what_cannot_be_put_beside_an_export_is_refused_before_it(
    asked: list[str], reason: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study")
    write_designs(study, [make_design(tiny_member("bk-small"), "autobuild", 1)])
    monkeypatch.chdir(tmp_path)
    Path("cut.safetensors").write_bytes(b"\xff" * 20)
    block = "lora_unet_output_blocks_0_1_transformer_blocks_9_attn1_to_q"
    pair = {f"{block}.lora_{side}.weight": np.ones((4, 4)) for side in ("down", "up")}
    save_file(pair, "xl.safetensors")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == missing else found(name, *rest),
    )
    done = CliRunner().invoke(
        cli.app, ["export", str(study.root), "--design", "autobuild-1", *asked]
    )
    assert isinstance(done.exception, InputError)
    assert reason in str(done.exception)
    assert not study.pipelines_dir.exists()


def test_commands_reach_the_stages_by_the_interface_where_it_has_them() -> None:
    behind_the_interface = stage_names("api")
    assert {"label_study", "build_study", "export_designs"} <= behind_the_interface
    assert stage_names("cli") & behind_the_interface == set()


def test_init_takes_a_preset_and_keeps_the_study_that_has_it(tmp_path: Path) -> None:
    teacher = full_geometry(tmp_path / "sd")
    (tmp_path / "photos").mkdir()
    given = [f"--{name}" for name in ("teacher", "images", "masks")]
    places = [str(teacher), *(str(tmp_path / "photos"),) * 2]
    arguments = [word for pair in zip(given, places, strict=True) for word in pair]
    study = str(tmp_path / "study")
    lacking = CliRunner().invoke(cli.app, ["init", study, "--preset", "places2"])
    assert isinstance(lacking.exception, InputError)
    assert "images, masks are not named" in str(lacking.exception)
    assert call("init", study, "--preset", "places2", *arguments).startswith("wrote ")
    protocol = sdsearch.load_study(study).config.protocol
    assert (protocol.samples, protocol.extractor) == (10_000, "fid")
    assert "was not changed" in call("init", study, "--preset", "places2")
    other = CliRunner().invoke(cli.app, ["init", study, "--preset", "brushbench"])
    assert "report.preset is places2 there" in str(other.exception)


def test_the_help_of_init_lists_the_presets() -> None:
    said = " ".join(call("init", "--help").split())
    assert "brushbench, coco-30k, places2" in said
