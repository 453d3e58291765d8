"""The errors of removals, against an own computation, on a GPU, and after a kill."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sdsearch.errors import WorkError
from sdsearch.pipelines import open_pipeline
from sdsearch.space.removals import list_removals, with_option
from sdsearch.space.space import SearchSpace, search_space
from sdsearch.space.units import Unit
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.slots import SLOTS
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.data.samples import load_recovery_samples
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.sampling import probing
from sdsearch_eval.sampling.probing import (
    pose_question,
    probe_removals,
    spread_timesteps,
    time_slots,
    weigh_timesteps,
)
from tests.eval.pretended import GPU, pretended_gpu

TIMESTEPS = (100, 700)
WEIGHTS = (0.75, 0.25)


def few(teacher):
    """A space with three options a unit, the unpruned one among them."""
    whole = search_space("tiny", teacher.backbone)
    home = whole.option_indices(UNPRUNED)
    level0, level1, level2, bottom = (
        Unit(unit.name, tuple(unit.options[i] for i in (0, len(unit.options) // 3, own)))
        for unit, own in zip(whole.units, home, strict=True)
    )
    return SearchSpace("few", teacher.backbone, (level0, level1, level2, bottom))


def probe(teacher, small, folder, dtype="float32", at_once=6):
    question = pose_question(teacher, load_recovery_samples(small, 3), TIMESTEPS, 0)
    cache = TensorCache(folder, {})
    found = probe_removals(teacher, few(teacher), question, WEIGHTS, dtype, cache, at_once)
    return question, found


def test_an_error_is_the_change_of_the_output_as_a_share_of_its_power(teacher, small, tmp_path):
    question, found = probe(teacher, small, tmp_path)
    space, whole = few(teacher), teacher.student(UNPRUNED)
    removals = [(axis, n) for axis, numbers in enumerate(list_removals(space)) for n in numbers]
    assert [(one.unit, one.option) for one in found] == [
        (space.units[axis].name, number) for axis, number in removals
    ]
    for one, (axis, number) in zip(found, removals, strict=True):
        arch = with_option(space, axis, number)
        assert one.lost == tuple(s.name for s in SLOTS if s.name not in arch.kept_slots)
        net, each = teacher.student(arch), []
        for timestep, part in zip(TIMESTEPS, question.parts(3), strict=True):
            given = part.model_input, timestep, part.text
            with torch.no_grad():
                before, after = (unet(*given).sample.double() for unet in (whole, net))
            each.append((((after - before) ** 2).mean((1, 2, 3)) / (before**2).mean()).numpy())
        assert one.errors == pytest.approx([row.mean() for row in each], rel=1e-4)
        of_samples = np.array(WEIGHTS) @ np.array(each)
        assert one.se == pytest.approx(of_samples.std(ddof=1) / np.sqrt(3), rel=1e-3)


def test_what_was_measured_is_not_measured_again(teacher, small, tmp_path, monkeypatch):
    _, before = probe(teacher, small, tmp_path)
    asked = []
    answer = probing._answer_all
    monkeypatch.setattr(
        probing, "_answer_all", lambda *given: asked.append(given[1]) or answer(*given)
    )
    assert probe(teacher, small, tmp_path)[1] == before
    assert asked == [UNPRUNED]


def test_a_probe_on_a_gpu_finds_what_one_on_the_processor_does(teacher, small, tmp_path):
    here = probe(teacher, small, tmp_path / "here")[1]
    with pretended_gpu():
        there = load_teacher(open_pipeline("tiny"), GPU)
        question, found = probe(there, small, tmp_path / "there")
        asked = question.model_input, question.timesteps, question.text
        assert {each.device for each in asked} == {GPU}
        milliseconds = time_slots(there.student(UNPRUNED), question)
    for one, other in zip(found, here, strict=True):
        assert one.errors == pytest.approx(other.errors, rel=1e-3, abs=1e-9)
    assert list(milliseconds) == [slot.name for slot in SLOTS]
    assert min(milliseconds.values()) > 0


@pytest.mark.parametrize("at_once", [1, 4])
def test_what_a_call_answers_at_once_does_not_change_the_errors(teacher, small, tmp_path, at_once):
    together = probe(teacher, small, tmp_path / "together")[1]
    apart = probe(teacher, small, tmp_path / "apart", at_once=at_once)[1]
    for one, other in zip(apart, together, strict=True):
        assert one.errors == pytest.approx(other.errors, rel=1e-3, abs=1e-9)


def test_parts_are_equal_as_far_as_they_can_be(teacher, small):
    question = pose_question(teacher, load_recovery_samples(small, 3), TIMESTEPS, 0)
    assert question.timesteps.tolist() == [100] * 3 + [700] * 3
    assert [part.timesteps.tolist() for part in question.parts(4)] == [[100] * 3, [700] * 3]
    assert [len(part.text) for part in question.parts(5)] == [3, 3]
    assert [len(part.model_input) for part in question.parts(6)] == [6]


def test_halves_are_asked_where_all_samples_do_not_fit(teacher, small, tmp_path, monkeypatch):
    _, whole = probe(teacher, small, tmp_path / "whole")
    student, sizes = type(teacher).student, []

    def tight(self, arch):
        unet = student(self, arch)
        forward = unet.forward

        def limited(model_input, *given, **named):
            sizes.append(len(model_input))
            if len(model_input) > 2:
                raise torch.OutOfMemoryError("full")
            return forward(model_input, *given, **named)

        unet.forward = limited
        return unet

    monkeypatch.setattr(type(teacher), "student", tight)
    _, halved = probe(teacher, small, tmp_path / "halved")
    assert set(sizes) == {6, 3, 2, 1}
    for one, other in zip(halved, whole, strict=True):
        assert one.errors == pytest.approx(other.errors, rel=1e-3, abs=1e-9)


def test_answers_that_are_not_finite_are_refused(teacher, small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        probing, "_answer", lambda unet, question: torch.full((6, 4, 2, 2), torch.nan)
    )
    with pytest.raises(WorkError, match="must be finite"):
        probe(teacher, small, tmp_path)


def test_a_net_that_says_nothing_is_refused(teacher, small, tmp_path, monkeypatch):
    monkeypatch.setattr(probing, "_answer", lambda unet, question: torch.zeros(6, 4, 2, 2))
    with pytest.raises(WorkError, match="all 0"):
        probe(teacher, small, tmp_path)


def test_timesteps_are_the_middles_of_equal_parts_and_clean_ones_count_more(teacher):
    timesteps = spread_timesteps(teacher, 4)
    assert timesteps == (125, 375, 625, 875)
    weights = weigh_timesteps(teacher, timesteps)
    assert sum(weights) == pytest.approx(1)
    assert sorted(weights, reverse=True) == list(weights)
    level = teacher.scheduler().alphas_cumprod
    ratio = float(level[375] / (1 - level[375]) / (level[625] / (1 - level[625])))
    assert weights[1] / weights[2] == pytest.approx(ratio)
