"""An export is a whole stock pipeline, written once, or nothing."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file

from sdsearch.errors import InputError, WorkError
from sdsearch.export import pipeline as export
from sdsearch.space.meter import Meter
from sdsearch.study import locks
from sdsearch.study.folder import load_space
from sdsearch.weights.notes import rename_noted
from tests.export.exports import edit, export_now, save_weights
from tests.fakes import (
    make_study,
    measured,
    tiny_member,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


def test_the_export_is_a_stock_pipeline_with_the_recovered_weights(
    study: StudyFolder, design: Design
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    folder = export_now(design, study)
    assert folder == study.root / "pipelines" / "autobuild-1"
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    meant = load_file(study.recovered_file(design.arch_key))
    found = pipeline.unet.state_dict()
    assert found.keys() == meant.keys()
    assert all((found[name] == meant[name]).all() for name in meant)
    assert {path.name for path in folder.iterdir()} >= {
        "README.md",
        "design.json",
        "provenance.json",
        "model_index.json",
    }
    assert list(folder.parent.iterdir()) == [folder]
    said = json.loads((folder / "design.json").read_text())
    assert said["measured"]["fd_efflite0"]["value"] == 212.5
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["protocol"]["key"] == study.protocol_key
    assert provenance["inheritance"]["tensors"].keys() == found.keys()


@pytest.mark.parametrize(
    "name",
    ["unet/diffusion_pytorch_model.safetensors", "vae/config.json", "README.md", "provenance.json"],
)
def test_an_export_with_a_flipped_bit_is_written_again(
    study: StudyFolder, design: Design, name: str
) -> None:
    folder = export_now(design, study)
    file = folder / name
    whole = file.read_bytes()
    file.unlink()  # weights are shared with the study's own
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert export_now(design, study) == folder
    assert (folder / name).read_bytes() == whole


def test_a_current_export_is_kept_and_an_outdated_one_replaced(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    (folder / "mark").touch()
    assert export_now(design, study) == folder
    assert (folder / "mark").exists()
    study.labels.write(measured(tiny_member("bk-tiny"), 199.0))
    export_now(design, study)
    assert not (folder / "mark").exists()
    assert "199" in (folder / "README.md").read_text()


def test_a_failed_check_leaves_no_folder_and_keeps_the_old_one(
    study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise WorkError("reads back changed")

    with monkeypatch.context() as patch:
        patch.setattr(export, "_check", fail)
        with pytest.raises(WorkError, match="reads back"):
            export_now(design, study)
    assert list(study.pipelines_dir.glob("*")) == []
    old = export_now(design, study)
    study.labels.write(measured(tiny_member("bk-tiny"), 199.0))
    monkeypatch.setattr(export, "_check", fail)
    with pytest.raises(WorkError):
        export_now(design, study)
    assert "212.5" in (old / "README.md").read_text()


def test_what_a_killed_export_left_is_removed(study: StudyFolder, design: Design) -> None:
    left = study.pipelines_dir / ".autobuild-1-0123abcd.tmp"
    left.mkdir(parents=True)
    (left / "half").touch()
    export_now(design, study)
    assert not left.exists()


def test_of_two_exports_at_once_one_writes_and_the_other_waits_for_it(
    study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, told, go_on, checks = Event(), Event(), Event(), []

    def say(text: str) -> None:
        assert text.endswith("waiting for it")
        told.set()

    def check(folder: Path, _: object) -> None:
        checks.append(folder)
        written.set()
        assert go_on.wait(60)

    monkeypatch.setattr(export, "_check", check)
    monkeypatch.setattr(locks, "_PATIENCE", 0.1)
    monkeypatch.setattr(locks, "say", say)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(export_now, design, study)
        assert written.wait(60)
        second = pool.submit(export_now, design, study)
        assert told.wait(60)
        assert not second.done()
        assert checks[0].is_dir()
        go_on.set()
        assert first.result() == second.result() == study.pipelines_dir / "autobuild-1"
    assert len(checks) == 1


@pytest.mark.slow
def test_an_export_that_is_killed_leaves_no_folder_of_its_name(
    study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    (tmp_path / "design.json").write_text(design.model_dump_json())
    code = KILLED.format(study=str(study.root), design=str(tmp_path / "design.json"))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"written, to be checked\n"
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (study.pipelines_dir / "autobuild-1").exists()
    folder = export_now(design, study)
    assert list(study.pipelines_dir.iterdir()) == [folder], "what was left is gone"


KILLED = """
import time
from sdsearch.export import pipeline as export
from sdsearch.export import recovered
from sdsearch.export.recovered import read_source
from sdsearch.study.requests import RecoverRequest
from sdsearch.design.designs import Design
from sdsearch.study.folder import read_study

def check(folder, student):
    print("written, to be checked", flush=True)
    time.sleep(600)

export._check = check
design = Design.model_validate_json(open({design!r}).read())
export.export_pipeline(design, read_study({study!r}), 'teacher')
"""


@pytest.mark.parametrize(
    ("taught_by", "task", "meant"),
    [
        ("StableDiffusionPipeline", "inpaint", "StableDiffusionInpaintPipeline"),
        ("StableDiffusionInpaintPipeline", "text-to-image", "StableDiffusionPipeline"),
        ("StableDiffusionPanoramaPipeline", "text-to-image", "StableDiffusionPipeline"),
    ],
)
def test_an_export_of_a_4_channel_teacher_is_of_the_studys_task_and_loads_as_all_three(
    taught_by: str, task: str, meant: str, teacher: Path, design: Design, tmp_path: Path
) -> None:
    import diffusers

    pipeline = diffusers.StableDiffusionInpaintPipeline.from_pretrained(teacher)
    config = {**pipeline.unet.config, "in_channels": 4}
    pipeline.unet = diffusers.UNet2DConditionModel.from_config(config)
    pipeline.save_pretrained(tmp_path / "teacher")
    edit(tmp_path / "teacher" / "model_index.json", _class_name=taught_by)
    toml = f"[teacher]\npipeline = {str(tmp_path / 'teacher')!r}\n[protocol]\ntask = {task!r}\n"
    made = make_study(tmp_path / "study", toml)
    save_weights(made, tmp_path / "teacher")
    folder = export_now(design, made)
    assert json.loads((folder / "model_index.json").read_text())["_class_name"] == meant
    card = (folder / "README.md").read_text()
    assert f"A stock `{meant}`" in card
    assert f"import {meant}" in card
    assert ("mask_image=" in card) == ("Inpaint" in meant)
    for name in ("", "Img2Img", "Inpaint"):
        kind = getattr(diffusers, f"StableDiffusion{name}Pipeline")
        loaded = kind.from_pretrained(folder, local_files_only=True)
        assert loaded.unet.config.in_channels == 4
        assert loaded.unet.config.layers_per_block == 1
    assert type(diffusers.DiffusionPipeline.from_pretrained(folder)).__name__ == meant


def test_a_teacher_that_cannot_be_loaded_is_bad_input(
    study: StudyFolder, design: Design, teacher: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    (broken / "unet").mkdir(parents=True)
    (broken / "unet" / "config.json").write_text((teacher / "unet" / "config.json").read_text())
    (broken / "model_index.json").write_text("{}")
    other = make_study(tmp_path / "other", f"[teacher]\npipeline = {str(broken)!r}\n")
    weights = other.recovered_file(design.arch_key)
    weights.parent.mkdir(parents=True)
    rename_noted(study.recovered_file(design.arch_key), weights)
    with pytest.raises(InputError, match="broken"):
        export_now(design, other)


def test_an_export_has_the_checker_of_its_teacher_in_single_and_in_half(
    own_study: StudyFolder, design: Design, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    folder = export_now(design, own_study)
    assert capfd.readouterr().err == "", "diffusers warns of a checker that it did not load"
    meant = StableDiffusionInpaintPipeline.from_pretrained(tmp_path / "own" / "teacher")
    for options, dtype in (({}, torch.float32), ({"variant": "fp16"}, torch.float16)):
        found = StableDiffusionInpaintPipeline.from_pretrained(folder, dtype=dtype, **options)
        assert found.config.requires_safety_checker is True
        assert found.feature_extractor.to_dict() == meant.feature_extractor.to_dict()
        for name in ("safety_checker", "image_encoder", "vae", "text_encoder"):
            part = getattr(found, name)
            assert part.dtype == dtype
            for one, tensor in getattr(meant, name).state_dict().items():
                assert (part.state_dict()[one] == tensor.to(dtype)).all()
    halves = {file.parent.name: load_file(file) for file in folder.glob("*/*.fp16.safetensors")}
    assert halves.keys() == {"unet", "vae", "text_encoder", "safety_checker", "image_encoder"}
    dtypes = {one.dtype for held in halves.values() for one in held.values()}
    assert {one for one in dtypes if one.is_floating_point} == {torch.float16}


def test_a_checker_that_is_listed_and_not_there_is_told_and_left_out(
    own_study: StudyFolder, design: Design, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from diffusers import StableDiffusionInpaintPipeline

    shutil.rmtree(tmp_path / "own" / "teacher" / "safety_checker")
    folder = export_now(design, own_study)
    assert "exported without the teacher's safety_checker" in capsys.readouterr().err
    loaded = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True)
    assert loaded.safety_checker is None
    assert loaded.feature_extractor is not None
    assert loaded.config.requires_safety_checker is False


def test_a_fine_tuned_autoencoder_of_another_config_is_exported_as_it_is(
    own_study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL, StableDiffusionInpaintPipeline

    place = tmp_path / "own" / "teacher" / "vae"
    shutil.rmtree(place)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 8, 12),
        layers_per_block=2,
        norm_num_groups=2,
        sample_size=64,
        scaling_factor=0.5,
        force_upcast=False,
    )
    vae.save_pretrained(place)
    folder = export_now(design, own_study)
    found = StableDiffusionInpaintPipeline.from_pretrained(folder, local_files_only=True).vae
    assert (found.config.scaling_factor, found.config.force_upcast) == (0.5, False)
    meant = vae.state_dict()
    assert all((tensor == meant[name]).all() for name, tensor in found.state_dict().items())


def test_an_old_teachers_small_unet_keeps_its_size(
    own_study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    from diffusers import DiffusionPipeline

    teacher = tmp_path / "own" / "teacher"
    for file in ("unet/config.json", "model_index.json"):
        edit(teacher / file, _diffusers_version="0.4.0")
    folder = export_now(design, own_study)
    # The stock pipelines take a UNet of before 0.9 that is smaller than 64 for one of 64.
    assert DiffusionPipeline.from_pretrained(folder).unet.config.sample_size == 16


@pytest.mark.parametrize("kind", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_and_leaves_what_was_there(
    kind: int, study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []

    def fill(source: Path, target: Path) -> None:
        copied.append(target)
        if len(copied) > 2:
            raise OSError(kind, "No space left on device")
        target.write_bytes(source.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", fill)
        with pytest.raises(WorkError, match=r"more space than is left in .*pipelines.*free some"):
            export_now(design, study)
    assert list(study.pipelines_dir.glob("*")) == []
    old = export_now(design, study)
    study.labels.write(measured(tiny_member("bk-tiny"), 199.0))
    copied.clear()
    monkeypatch.setattr("shutil.copyfile", fill)
    with pytest.raises(WorkError, match="free some"):
        export_now(design, study)
    assert list(study.pipelines_dir.iterdir()) == [old]
    assert "212.5" in (old / "README.md").read_text()


def test_an_export_that_is_stopped_leaves_nothing(
    study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "write_weights", stop)
    with pytest.raises(KeyboardInterrupt):
        export_now(design, study)
    assert list(study.pipelines_dir.iterdir()) == []


def test_an_export_on_top_of_another_holds_none_of_its_files(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    meant = {path.relative_to(folder) for path in folder.rglob("*")}
    for name in ("onnx", "lora", "vae/old"):
        (folder / name).mkdir()
        (folder / name / "file").touch(mode=0o444)
    (folder / "vae" / "old").chmod(0o555)
    study.labels.write(measured(tiny_member("bk-tiny"), 199.0))
    export_now(design, study)
    assert {path.relative_to(folder) for path in folder.rglob("*")} == meant
    assert [path for path in study.pipelines_dir.iterdir() if path != folder] == []


@pytest.mark.slow
def test_the_export_runs_in_a_process_that_cannot_import_sdsearch(
    study: StudyFolder, design: Design, tmp_path: Path
) -> None:
    folder = export_now(design, study)
    code = f"""
import sys
sys.modules["sdsearch"] = None
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image
pipe = StableDiffusionInpaintPipeline.from_pretrained({str(folder)!r})
picture, mask = Image.new("RGB", (64, 64), "red"), Image.new("L", (64, 64), 255)
image = pipe("a lake", image=picture, mask_image=mask, strength=1.0, height=64, width=64,
             num_inference_steps=2, guidance_scale=1.0).images[0]
assert image.size == (64, 64)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_half_precision_variant_loads_and_is_the_same_weights(
    study: StudyFolder, design: Design
) -> None:
    import torch
    from diffusers import StableDiffusionInpaintPipeline

    folder = export_now(design, study)
    half = StableDiffusionInpaintPipeline.from_pretrained(
        folder, variant="fp16", dtype=torch.float16, local_files_only=True
    )
    meant = load_file(study.recovered_file(design.arch_key))
    found = half.unet.state_dict()
    assert all((found[name] == meant[name].half()).all() for name in meant)
    assert {half.vae.dtype, half.text_encoder.dtype} == {torch.float16}


def test_the_weight_files_have_the_sizes_that_budgets_count(
    study: StudyFolder, design: Design
) -> None:
    unet, space = export_now(design, study) / "unet", load_space(study)
    for dtype, name in (("float32", ""), ("float16", ".fp16"), ("bfloat16", ".fp16")):
        counted = Meter(space, dtype).member(design.architecture)["file_bytes"]  # type: ignore[arg-type]
        assert (unet / f"diffusion_pytorch_model{name}.safetensors").stat().st_size == counted
