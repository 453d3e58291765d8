"""When a teacher is tuned, and when it is not: the harness and the export are stood in for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.export.inventory import record_files
from sdsearch.stages.tune import tune_teacher
from sdsearch.study.folder import read_study
from sdsearch.study.requests import TuneRequest
from sdsearch.study.teacher import TUNING, describe_tuning
from sdsearch.unet.backbone import TINY
from tests.fakes import full_geometry, make_label, make_study

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    words = TINY.model_copy(update={"in_channels": 4})
    pipeline = full_geometry(tmp_path / "words", words)
    monkeypatch.setattr("sdsearch.stages.tune.teacher_identity", lambda _: "the words of today")
    return make_study(
        tmp_path / "study", f"[teacher]\npipeline = {str(pipeline)!r}\ninpaint = true\n"
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[TuneRequest, int]]:
    """What the harness was asked for; an export writes how it was tuned."""
    found: list[tuple[TuneRequest, int]] = []

    def export(study: StudyFolder) -> Path:
        study.teacher_dir.mkdir(exist_ok=True)
        said = describe_tuning(study.config, "the words of today").model_dump_json()
        (study.teacher_dir / TUNING).write_text(said)
        return study.teacher_dir

    monkeypatch.setattr("sdsearch.stages.tune.run_harness", lambda *given: found.append(given))
    monkeypatch.setattr("sdsearch.export.export_teacher", export)
    return found


def retuned(study: StudyFolder, steps: int) -> StudyFolder:
    text = (study.root / "study.toml").read_text()
    (study.root / "study.toml").write_text(f"{text}[teacher.tuning]\nsteps = {steps}\n")
    return read_study(study.root)


def test_a_teacher_is_tuned_once(study: StudyFolder, asked: list[tuple[TuneRequest, int]]) -> None:
    assert tune_teacher(study, 2) == study.root / "teacher"
    assert asked == [(TuneRequest(study=study.root, processes=2), 2)]
    assert tune_teacher(study) == study.root / "teacher"
    assert len(asked) == 1


def test_other_settings_and_another_pipeline_of_the_name_tune_again(
    study: StudyFolder, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    tune_teacher(study)
    tune_teacher(retuned(study, 7))
    assert len(asked) == 2
    monkeypatch.setattr("sdsearch.stages.tune.teacher_identity", lambda _: "others")
    tune_teacher(read_study(study.root))
    assert len(asked) == 3


def test_a_damaged_teacher_is_written_again_whatever_it_says_of_itself(
    study: StudyFolder, asked: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tune_teacher(study)
    record_files(folder, [folder / TUNING])
    study.labels.write(make_label())
    whole = (folder / TUNING).read_text()
    (folder / TUNING).write_text(whole.replace("words", "wordr"))
    tune_teacher(read_study(study.root))
    assert len(asked) == 2
    assert (folder / TUNING).read_text() == whole
    assert "written again: tuning.json changed" in capsys.readouterr().err


def test_labels_of_the_teacher_before_are_never_joined_by_others(
    study: StudyFolder, asked: list[object]
) -> None:
    tune_teacher(study)
    study.labels.write(make_label())
    assert tune_teacher(study) == study.teacher_dir, "what is current stays"
    with pytest.raises(InputError, match=r"one teacher.*new study"):
        tune_teacher(retuned(study, 7))
    assert len(asked) == 1


def test_a_study_without_tuning_says_how_to_go_on(tmp_path: Path) -> None:
    study = make_study(tmp_path / "plain")
    with pytest.raises(InputError, match="sdsearch run"):
        tune_teacher(study)
