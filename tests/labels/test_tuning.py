from __future__ import annotations

import pytest
from pydantic import ValidationError

from sdsearch.labels.recovery import LongRecovery, RecoveryLosses, TeacherTuning


def test_a_teacher_learns_from_the_noise_alone() -> None:
    assert TeacherTuning().losses == RecoveryLosses(output=0, task=1)
    assert not TeacherTuning().losses.ask_teacher
    for losses in ({"output": 1, "task": 1}, {"output": 0, "task": 1, "feature": 0.5}):
        with pytest.raises(ValidationError, match="nobody to ask"):
            TeacherTuning.model_validate({"losses": losses})


def test_all_that_changes_the_weights_is_in_its_identity_and_no_more() -> None:
    tuning = TeacherTuning()
    for change in ({"seed": 1}, {"whole_holes": 0.0}, {"masks": "thick"}, {"steps": 7}):
        assert tuning.model_copy(update=change).identity != tuning.identity
    assert tuning.model_copy(update={"picture_every": 7}).identity == tuning.identity


def test_recipes_of_designs_say_nothing_new_where_no_hole_is_whole() -> None:
    assert "whole_holes" not in LongRecovery().identity
    assert LongRecovery(whole_holes=0.25).identity["whole_holes"] == 0.25
