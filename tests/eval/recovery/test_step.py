from __future__ import annotations

import sys

import pytest
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.labels.recovery import RecoveryLosses, RecoveryRecipe
from sdsearch.space.space import search_space
from sdsearch.study.config import MachineConfig
from sdsearch.unet import TINY
from sdsearch.unet.architecture import UNPRUNED
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.counting import weigh_optimizer
from sdsearch_eval.recovery import step as module
from sdsearch_eval.recovery.distillation import FeatureLoss
from sdsearch_eval.recovery.short import Lessons, recover_student
from sdsearch_eval.recovery.step import Cut, learn_lesson, make_optimizer

ARCH = search_space("tiny").members["bk-tiny"]
RECIPE = RecoveryRecipe(
    steps=2, batch_size=5, losses=RecoveryLosses(output=1.0, task=0.5, feature=0.5)
)
WHOLE = Cut(checkpointing=False, micro_batch=5)


@pytest.fixture(scope="module")
def lessons(teacher, small, tmp_path_factory):
    protocol = small.model_copy(update={"recovery": RECIPE})
    return Lessons(teacher, protocol, 0, TensorCache(tmp_path_factory.mktemp("cache"), {}))


def learned(teacher, lessons, cut, recipe=RECIPE):
    """The losses of a lesson, the gradients it leaves, and the cut that fitted."""
    unet = teacher.student(ARCH).train().requires_grad_(True)
    features = FeatureLoss(ARCH, teacher, unet, lessons.unpruned())
    losses, fitted = learn_lesson(unet, lessons[0], recipe, features, cut)
    return losses, [p.grad for p in unet.parameters()], fitted


@pytest.mark.parametrize("cut", [Cut(False, 2), Cut(True, 5), Cut(True, 1)])
def test_a_step_in_parts_or_checkpointed_has_the_gradients_of_the_whole(teacher, lessons, cut):
    wanted, expected, _ = learned(teacher, lessons, WHOLE)
    losses, gradients, _ = learned(teacher, lessons, cut)
    assert set(losses) == {"loss", "output", "task", "feature"}
    for name, value in wanted.items():
        assert float(losses[name]) == pytest.approx(float(value), rel=1e-4), name
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for found, gradient in zip(gradients, expected, strict=True):
        assert float((found - gradient).abs().max()) < 1e-4 * largest


def test_where_memory_runs_out_a_smaller_cut_is_tried_and_kept(teacher, lessons, monkeypatch):
    wanted, expected, _ = learned(teacher, lessons, Cut(True, 2))
    tried = []
    original = module.recovery_losses

    def scarce(model, lesson, *others):
        tried.append((model.is_gradient_checkpointing, len(lesson)))
        if len(lesson) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, lesson, *others)

    monkeypatch.setattr(module, "recovery_losses", scarce)
    losses, gradients, fitted = learned(
        teacher, lessons, Cut.of(MachineConfig(), RECIPE.batch_size)
    )
    assert tried == [(False, 5), (True, 5), (True, 3), (True, 2), (True, 2), (True, 1)]
    assert (fitted.checkpointing, fitted.micro_batch) == (True, 2)
    assert float(losses["loss"]) == float(wanted["loss"])
    assert all(torch.equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_a_cut_that_was_asked_for_is_not_made_smaller(teacher, lessons, monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "recovery_losses", never)
    asked = Cut.of(MachineConfig(gradient_checkpointing=False, micro_batch=4), 5)
    with pytest.raises(torch.OutOfMemoryError):
        learned(teacher, lessons, asked)


def test_autocast_learns_nearly_the_same_and_keeps_weights_in_float32(teacher, lessons):
    half = RECIPE.model_copy(update={"precision": "bfloat16"})
    wanted, _, _ = learned(teacher, lessons, WHOLE)
    losses, gradients, _ = learned(teacher, lessons, WHOLE, half)
    assert float(losses["loss"]) != float(wanted["loss"])
    assert float(losses["loss"]) == pytest.approx(float(wanted["loss"]), rel=0.05)
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_a_half_teacher_answers_nearly_as_a_whole_one(teacher, small, tmp_path):
    answers = []
    for number, dtype in enumerate(("float32", "float16")):
        recipe = RECIPE.model_copy(update={"teacher_dtype": dtype})
        protocol = small.model_copy(update={"recovery": recipe})
        made = Lessons(teacher, protocol, 0, TensorCache(tmp_path / str(number), {}))
        answers.append(made[0].teacher_output)
        assert made.unpruned().dtype == getattr(torch, dtype)
    assert answers[1].dtype == torch.float32
    error = (answers[0] - answers[1]).square().mean() / answers[0].square().mean()
    assert 0 < float(error) < 1e-4


def test_what_overflows_in_half_precision_is_asked_again_in_float32(teacher, small, tmp_path):
    recipe = RECIPE.model_copy(update={"teacher_dtype": "float16"})
    protocol = small.model_copy(update={"recovery": recipe})
    made = Lessons(teacher, protocol, 0, TensorCache(tmp_path, {}))
    with torch.no_grad():
        made.unpruned().conv_out.bias.fill_(torch.inf)
    assert bool(torch.isfinite(made[0].teacher_output).all())


def test_a_teacher_whose_answers_are_not_finite_is_refused(teacher, lessons, monkeypatch):
    broken = teacher.student(UNPRUNED)
    with torch.no_grad():
        broken.conv_out.bias.fill_(torch.nan)
    monkeypatch.setattr(lessons, "_net", broken)
    with pytest.raises(WorkError, match="finite"):
        lessons[100]


def test_8_bit_moments_without_their_package_say_what_to_install(teacher, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match="pip install bitsandbytes"):
        make_optimizer(teacher.student(ARCH), RecoveryRecipe(optimizer="adamw8bit"))


def test_a_recovery_of_no_steps_changes_nothing(teacher, lessons):
    unet = teacher.student(ARCH)
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    assert recover_student(unet, ARCH, lessons, RecoveryRecipe(steps=0)) == []
    assert all(torch.equal(value, before[name]) for name, value in unet.state_dict().items())


def test_8_bit_moments_learn_and_take_the_memory_that_is_counted(teacher, lessons):
    pytest.importorskip("bitsandbytes", reason="it warns wherever diffusers is imported")
    recipe = RECIPE.model_copy(update={"optimizer": "adamw8bit"})
    unet = teacher.student(ARCH).train().requires_grad_(True)
    features = FeatureLoss(ARCH, teacher, unet, lessons.unpruned())
    optimizer, losses = make_optimizer(unet, recipe), []
    for _ in range(6):
        told, _ = learn_lesson(unet, lessons[0], recipe, features, WHOLE)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(told["loss"]))
    assert losses[-1] < 0.9 * losses[0]
    moments = sum(
        value.nbytes
        for state in optimizer.state.values()
        for name, value in state.items()
        if name.startswith(("state", "absmax"))  # the table of 8-bit values is one for all
    )
    assert moments == weigh_optimizer(ARCH, TINY, "adamw8bit")
