from __future__ import annotations

import pytest
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.protocol import RecoveryLosses, RecoveryRecipe
from sdsearch.space import search_space
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.recovery import Lessons, recover_student

ARCH = search_space("tiny").members["bk-small"]


@pytest.fixture(scope="module")
def lessons(teacher, small, tmp_path_factory):
    return Lessons(teacher, small, 0, TensorCache(tmp_path_factory.mktemp("cache"), {}))


def recovered(teacher, lessons, recipe):
    student = teacher.student(ARCH)
    recover_student(student, lessons, recipe)
    return student.state_dict()


def test_recovery_is_the_same_bit_for_bit_and_changes_the_student(teacher, small, lessons):
    first, second = (recovered(teacher, lessons, small.recovery) for _ in range(2))
    inherited = teacher.student(ARCH).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], inherited[name]) for name in first)


def test_no_steps_leave_the_inherited_student(teacher, lessons):
    untouched = recovered(teacher, lessons, RecoveryRecipe(steps=0))
    inherited = teacher.student(ARCH).state_dict()
    assert all(torch.equal(untouched[name], inherited[name]) for name in inherited)


def test_another_seed_gives_other_lessons(teacher, small, tmp_path):
    cache = TensorCache(tmp_path, {})
    one, two = (Lessons(teacher, small, seed, cache)[0] for seed in (0, 1))
    assert not torch.equal(one.model_input, two.model_input)


def test_the_timesteps_of_a_lesson_are_spread_over_the_schedule(lessons):
    for step in range(3):
        low, high = sorted(lessons[step].timesteps.tolist())
        assert 0 <= low < 500 <= high < 1000


def test_the_target_of_a_v_predicting_teacher_is_a_velocity(teacher, lessons):
    lesson = lessons[0]
    assert teacher.scheduler_config["prediction_type"] == "v_prediction"
    assert lesson.teacher_output.shape == lesson.target.shape
    error = (lesson.teacher_output - lesson.target).square().mean()
    assert error < 0.8 * lesson.target.square().mean()


def test_many_steps_bring_the_student_nearer_to_its_teacher(teacher, lessons):
    lesson = lessons[0]

    def distance(student):
        with torch.no_grad():
            output = student(lesson.model_input, lesson.timesteps, lesson.text).sample
        return float((output - lesson.teacher_output).square().mean())

    student = teacher.student(ARCH)
    before = distance(student)
    recover_student(student, lessons, RecoveryRecipe(steps=12, learning_rate=5e-4, batch_size=2))
    assert distance(student) < 0.8 * before


def test_a_loss_that_is_not_finite_is_failed_work(teacher, small, lessons):
    student = teacher.student(ARCH)
    student.conv_in.weight.data.fill_(float("inf"))
    with pytest.raises(WorkError, match="finite"):
        recover_student(student, lessons, small.recovery)


def test_a_loss_that_is_not_built_is_refused(teacher, small, tmp_path):
    recipe = RecoveryRecipe(losses=RecoveryLosses(feature=1.0))
    protocol = small.model_copy(update={"recovery": recipe})
    with pytest.raises(InputError, match="feature"):
        Lessons(teacher, protocol, 0, TensorCache(tmp_path, {}))
