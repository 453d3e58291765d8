from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from sdsearch.errors import WorkError
from sdsearch.labels.recovery import RecoveryLosses, RecoveryRecipe
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.recovery.short import Lessons, recover_student
from tests.unets import random_wide_members

ARCH = search_space("tiny").members["bk-small"]


@pytest.fixture(scope="module")
def lessons(teacher, small, tmp_path_factory):
    return Lessons(teacher, small, 0, TensorCache(tmp_path_factory.mktemp("cache"), {}))


def recovered(teacher, lessons, recipe):
    student = teacher.student(ARCH)
    recover_student(student, ARCH, lessons, recipe)
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
    assert teacher.noise_schedule.prediction_type == "v_prediction"
    assert lesson.teacher_output.shape == lesson.target.shape
    error = (lesson.teacher_output - lesson.target).square().mean()
    assert error < 0.8 * lesson.target.square().mean()


@pytest.mark.slow
def test_many_steps_bring_the_student_nearer_to_its_teacher(teacher, lessons):
    lesson = lessons[0]

    def distance(student):
        with torch.no_grad():
            output = student(lesson.model_input, lesson.timesteps, lesson.text).sample
        return float((output - lesson.teacher_output).square().mean())

    student = teacher.student(ARCH)
    before = distance(student)
    recover_student(
        student, ARCH, lessons, RecoveryRecipe(steps=12, learning_rate=5e-4, batch_size=2)
    )
    assert distance(student) < 0.8 * before


def test_a_loss_that_is_not_finite_is_failed_work(teacher, small, lessons):
    student = teacher.student(ARCH)
    student.conv_in.weight.data.fill_(float("inf"))
    with pytest.raises(WorkError, match="finite"):
        recover_student(student, ARCH, lessons, small.recovery)


def test_every_weighted_loss_is_told_relative_to_its_target(teacher, lessons):
    weights = RecoveryLosses(output=0.5, task=2.0, feature=0.25)
    recipe = RecoveryRecipe(steps=2, batch_size=2, losses=weights)
    lesson = lessons[0]
    with torch.no_grad():
        output = teacher.student(ARCH)(lesson.model_input, lesson.timesteps, lesson.text).sample
    (first, _) = recover_student(teacher.student(ARCH), ARCH, lessons, recipe)
    total = 0.5 * first["output"] + 2.0 * first["task"] + 0.25 * first["feature"]
    assert first["loss"] == pytest.approx(total, rel=1e-5)
    assert set(first) == {"loss", "output", "task", "feature"}
    for name, wanted in (("output", lesson.teacher_output), ("task", lesson.target)):
        relative = float((output - wanted).square().mean() / wanted.square().mean())
        assert first[name] == pytest.approx(relative, rel=1e-4)


def test_the_unpruned_student_has_its_teachers_features(teacher, lessons):
    whole = UNPRUNED
    recipe = RecoveryRecipe(steps=1, batch_size=2, losses=RecoveryLosses(output=0, feature=1.0))
    (row,) = recover_student(teacher.student(whole), whole, lessons, recipe)
    assert row["feature"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("arch", [ARCH, *random_wide_members(3, seed=71)], ids=lambda a: a.key)
def test_features_of_any_member_are_compared_with_those_it_inherited(arch, teacher, lessons):
    losses = RecoveryLosses(output=0, feature=1.0)
    recipe = RecoveryRecipe(steps=4, batch_size=2, learning_rate=1e-3, losses=losses)
    student = teacher.student(arch)
    log = recover_student(student, arch, SameLesson(lessons), recipe)
    assert log[-1]["feature"] < log[0]["feature"]
    assert all(not module._forward_hooks for module in student.modules())


class SameLesson:
    """The first lesson again and again: what is learned then shows at once."""

    def __init__(self, lessons):
        self.teacher, self.first = lessons.teacher, lessons[0]

    def __getitem__(self, _):
        return self.first

    def fill(self, _):
        pass

    def unpruned(self):
        return self.teacher.student(UNPRUNED)


def test_losses_without_any_weight_are_refused():
    with pytest.raises(ValidationError, match="above 0"):
        RecoveryLosses(output=0)
