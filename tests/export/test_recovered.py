"""Which weights are exported, and which are made again or refused."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from safetensors.torch import load_file, save

from sdsearch.errors import WorkError
from sdsearch.export import find_weights, recovered, release_weights
from sdsearch.study.requests import RecoverRequest
from sdsearch.weights.notes import origin_of, rename_noted, write_noted
from tests.export.exports import export_now, save_weights
from tests.fakes import (
    make_design,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design.designs import Design
    from sdsearch.study.folder import StudyFolder


def test_a_long_recovery_that_has_ended_replaces_weights_and_values(
    study: StudyFolder, design: Design
) -> None:
    folder = export_now(design, study)
    place = study.finetuned_dir(design.arch_key)
    place.mkdir(parents=True)
    before = {"before": {"fd_efflite0": {"value": 300.0, "se": 1.0, "n": 8}}}
    (place / "values.json").write_text(json.dumps(before))
    state = load_file(study.recovered_file(design.arch_key))
    other = {name: tensor + 0.5 for name, tensor in state.items()}
    write_noted(place / "weights.safetensors", save(other), "a test")
    (folder / "mark").touch()
    export_now(design, study)
    assert (folder / "mark").exists()  # it has not ended
    after = {"after": {"fd_efflite0": {"value": 123.25, "se": 1.0, "n": 8}}}
    (place / "values.json").write_text(json.dumps({**before, **after}))
    export_now(design, study)
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert all((weights[name] == state[name] + 0.5).all() for name in state)
    card = (folder / "README.md").read_text()
    assert "123.2" in card
    assert f"recovery of {study.config.export.recovery.steps} steps" in card
    said = json.loads((folder / "design.json").read_text())
    assert said["measured"]["fd_efflite0"]["value"] == 123.25


def test_large_weights_of_designs_that_are_not_exported_are_released(
    study: StudyFolder, design: Design, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_design(tiny_member("bk-base"), "autobuild", 2)
    write_designs(study, [design, other])
    exported, spare = (study.recovered_file(one.arch_key) for one in (design, other))
    folder = export_now(design, study)
    write_noted(spare, b"0" * 1000, "a test")
    assert release_weights(study, most=1000) == 0
    assert spare.is_file()
    assert release_weights(study, most=999) == 1000
    assert not spare.exists()
    assert origin_of(spare) is None
    assert "not exported (1 files" in capsys.readouterr().err
    assert origin_of(exported) is not None
    assert load_file(folder / "unet" / "diffusion_pytorch_model.safetensors").keys()
    assert find_weights(other.arch_key, study) is None, "so that an export makes them again"
    assert release_weights(study, most=0) == 0


def test_weights_of_another_architecture_are_refused(study: StudyFolder, teacher: Path) -> None:
    other = make_design(tiny_member("bk-base"), "autobuild", 2)
    source = study.recovered_file(tiny_member("bk-tiny").key)
    rename_noted(source, study.recovered_file(other.arch_key))
    with pytest.raises(WorkError, match="weights"):
        export_now(other, study)
    assert not (study.pipelines_dir / "autobuild-2").exists()


def test_damaged_weights_are_never_exported(
    study: StudyFolder, design: Design, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = study.recovered_file(design.arch_key)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setattr(recovered, "run_harness", lambda request: None)
    with pytest.raises(WorkError, match="must have made"):
        export_now(design, study)
    monkeypatch.setattr(recovered, "run_harness", lambda _: write_noted(file, whole, "a test"))
    assert export_now(design, study).is_dir()


def test_missing_weights_are_recovered_by_the_harness(
    study: StudyFolder, design: Design, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.recovered_file(design.arch_key).unlink()
    asked = []

    def recover(request: RecoverRequest) -> None:
        asked.append(request)
        save_weights(study, teacher)

    monkeypatch.setattr(recovered, "run_harness", recover)
    export_now(design, study)
    assert asked == [RecoverRequest(study=study.root, arch_keys=(design.arch_key,))]


def test_weights_take_space_once_and_outlive_their_export(
    study: StudyFolder, design: Design
) -> None:
    kept = study.recovered_file(design.arch_key)
    write_noted(kept, save(load_file(kept), {"format": "pt"}), "a test")  # as the harness does
    folder = export_now(design, study)
    exported = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert exported.samefile(kept)
    shutil.rmtree(folder)
    assert kept.is_file()


def test_weights_that_are_no_safetensors_file_are_told_with_the_next_step(
    study: StudyFolder, design: Design
) -> None:
    write_noted(study.recovered_file(design.arch_key), b"cut", "a test")
    with pytest.raises(WorkError, match="delete the file and recover again"):
        export_now(design, study)


def test_weights_beyond_half_precision_are_refused(
    study: StudyFolder, design: Design, teacher: Path
) -> None:
    path = study.recovered_file(design.arch_key)
    state = load_file(path)
    state["conv_out.bias"] = state["conv_out.bias"] + 1e6
    write_noted(path, save(state), "a test")
    with pytest.raises(WorkError, match=r"half precision, but conv_out\.bias overflows"):
        export_now(design, study)
    assert not (study.pipelines_dir / "autobuild-1").exists()
