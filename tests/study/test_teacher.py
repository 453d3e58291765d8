"""Which pipeline is the teacher of a study: the one that it names, or what that was tuned into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.study.folder import StudyFolder, find_teacher, is_tuned, load_space, read_study
from sdsearch.study.teacher import TUNING, describe_tuning, read_backbone
from sdsearch.unet.backbone import SD14, TINY
from tests.fakes import full_geometry, make_study

if TYPE_CHECKING:
    from pathlib import Path

WORDS = TINY.model_copy(update={"in_channels": 4})


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    return full_geometry(tmp_path / "words", WORDS)


def tuned_study(folder: Path, pipeline: Path, more: str = "") -> StudyFolder:
    """A study whose teacher was tuned as study.toml says."""
    study = make_study(folder, toml(pipeline, more))
    study.teacher_dir.mkdir(parents=True)
    said = describe_tuning(study.config, "origin").model_dump_json()
    (study.teacher_dir / TUNING).write_text(said)
    return study


def toml(pipeline: Path, more: str = "") -> str:
    return f"[teacher]\npipeline = {str(pipeline)!r}\ninpaint = true\n{more}"


def edited(study: StudyFolder, text: str) -> StudyFolder:
    (study.root / "study.toml").write_text(text)
    return read_study(study.root)


def test_without_tuning_the_teacher_is_the_named_pipeline(tmp_path: Path, pipeline: Path) -> None:
    study = make_study(tmp_path / "study", f"[teacher]\npipeline = {str(pipeline)!r}\n")
    assert find_teacher(study) == str(pipeline)
    assert read_backbone(study.config) == WORDS


def test_a_space_is_that_of_the_tuned_teacher_before_it_is_tuned(
    tmp_path: Path, pipeline: Path
) -> None:
    study = make_study(tmp_path / "study", toml(pipeline))
    assert load_space(study).backbone == TINY
    assert not is_tuned(study)


def test_what_is_not_tuned_yet_names_the_command(tmp_path: Path, pipeline: Path) -> None:
    study = make_study(tmp_path / "study", toml(pipeline))
    with pytest.raises(InputError, match=rf"run: sdsearch tune {study.root}"):
        find_teacher(study)


def test_what_was_tuned_is_the_teacher_wherever_its_pipeline_went(
    tmp_path: Path, pipeline: Path
) -> None:
    study = tuned_study(tmp_path / "study", pipeline)
    assert find_teacher(study) == str(study.root / "teacher")
    (tmp_path / "elsewhere").mkdir()
    moved = pipeline.rename(tmp_path / "elsewhere" / "words")
    assert find_teacher(edited(study, toml(moved))) == str(study.root / "teacher")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[teacher.tuning]\nlearning_rate = 1e-5\n", "learning_rate is 0.0003 there and 1e-05"),
        ("[teacher.tuning]\nseed = 3\n", "seed is 0 there and 3 here"),
        ("[protocol]\ncrop = 'hole'\n", "crop"),
        ("[protocol]\nresolution = 32\n", "resolution is 64 there and 32 here"),
    ],
)
def test_a_teacher_that_was_tuned_otherwise_is_refused_by_the_difference(
    more: str, said: str, tmp_path: Path, pipeline: Path
) -> None:
    study = edited(tuned_study(tmp_path / "study", pipeline), toml(pipeline, more))
    with pytest.raises(InputError, match=said):
        find_teacher(study)
    assert not is_tuned(study)


def test_settings_that_only_watch_or_measure_leave_the_teacher_as_it_is(
    tmp_path: Path, pipeline: Path
) -> None:
    study = tuned_study(tmp_path / "study", pipeline)
    more = "[teacher.tuning]\npicture_every = 7\n[protocol]\nsteps = 20\nguidance = 2.0\nseed = 4\n"
    assert is_tuned(edited(study, toml(pipeline, more)))
    assert all(is_tuned(study.at_rung(rung).at_seed(5)) for rung in study.rungs)


def test_labels_are_not_measured_on_photos_that_the_teacher_learned_from(
    tmp_path: Path, pipeline: Path
) -> None:
    text = "[protocol]\ndataset = 'photos'\nsamples = {}\n"
    study = tuned_study(tmp_path / "study", pipeline, text.format(8))
    assert is_tuned(edited(study, toml(pipeline, text.format(4))))
    with pytest.raises(InputError, match="has not learned from, which are the first 8"):
        find_teacher(edited(study, toml(pipeline, text.format(9))))


def test_a_net_that_sees_masks_has_nothing_to_learn(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[teacher]\ninpaint = true\n")
    with pytest.raises(InputError, match="tiny has 9: it sees masks already"):
        load_space(study)


def test_a_teacher_that_learns_to_inpaint_is_not_measured_from_words(
    tmp_path: Path, pipeline: Path
) -> None:
    text = toml(pipeline, "[protocol]\ntask = 'text-to-image'\n")
    with pytest.raises(InputError, match="leave inpaint out"):
        load_space(make_study(tmp_path / "study", text))


def test_a_record_that_is_no_record_is_told_with_the_next_step(
    tmp_path: Path, pipeline: Path
) -> None:
    study = tuned_study(tmp_path / "study", pipeline)
    (study.teacher_dir / TUNING).write_text("{")
    with pytest.raises(InputError, match="remove its folder"):
        find_teacher(study)


def test_full_size_teachers_are_widened_too(tmp_path: Path) -> None:
    pipeline = full_geometry(tmp_path / "words", SD14)
    study = make_study(tmp_path / "study", toml(pipeline))
    assert load_space(study).backbone.in_channels == 9
