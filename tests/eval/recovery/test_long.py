from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import get_args

import pytest
import torch
from accelerate.utils import LoggerType
from safetensors.torch import load_file
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError, WorkError
from sdsearch.harness import harness_line, written
from sdsearch.labels.choices import Tracker
from sdsearch.labels.recovery import LongRecovery, RecoveryLosses
from sdsearch.pipelines import open_pipeline
from sdsearch.study.config import MachineConfig
from sdsearch.study.requests import FinetuneRequest
from sdsearch_eval.jobs import workspace as job
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.recovery.long import (
    CHECKPOINT,
    Course,
    Watch,
    finetune_student,
    trim_log,
)
from sdsearch_eval.recovery.progress import begin_recovery
from sdsearch_eval.recovery.sources import open_source
from sdsearch_eval.recovery.tutor import Tutor
from sdsearch_eval.world import World
from tests.eval.desk import ask
from tests.eval.jobs.test_processes import KEY, TOML, environment, make_study, write_list
from tests.eval.pretended import GPU, pretended_gpu
from tests.eval.test_devices import with_channels
from tests.fakes import tiny_member

ARCH = tiny_member("bk-small")
RECIPE = LongRecovery(steps=6, batch_size=4, learning_rate=1e-3, ema=0.9, checkpoint_every=2)
LONG = TOML + "[export.recovery]\nsteps = 4\nbatch_size = 4\nlearning_rate = 1e-3\nema = 0.5\n"


@pytest.fixture(scope="module")
def course(teacher, small):
    return Course(
        of="a test",
        arch=ARCH,
        teacher=teacher,
        source=open_source(small, RECIPE, 0),
        recipe=RECIPE,
        seed=0,
        resolution=small.resolution,
        machine=MachineConfig(workers=0),
    )


def trained(course, folder, kill_at=None, **changes):
    """The student's weights after a long recovery with some other settings."""
    machine = course.machine.model_copy(update=changes.pop("machine", {}))
    course = replace(course, recipe=course.recipe.model_copy(update=changes), machine=machine)
    world = World(device=course.teacher.device)
    progress = begin_recovery(
        course.teacher.student(ARCH), course.recipe, folder / CHECKPOINT, course.of
    )

    def tell(step, row):
        if step == kill_at:
            raise KeyboardInterrupt

    watch = Watch(tell, lambda step, unet: None)
    return finetune_student(progress, course, folder, world, watch).state_dict()


def losses_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def apart(first, second):
    """The distance of two sets of weights; AdamW makes a full step of any rounding around 0, so
    that single weights say little."""
    return sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"machine": {"workers": 2}, "caption_dropout": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_from_its_checkpoint_and_ends_bit_for_bit_the_same(
    course, tmp_path, changes
):
    whole = trained(course, tmp_path / "whole", **changes)
    with pytest.raises(KeyboardInterrupt):
        trained(course, tmp_path / "killed", 5, **changes)
    again = trained(course, tmp_path / "killed", **changes)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert [row["step"] for row in losses_of(tmp_path / "killed")] == [1, 2, 3, 4, 5, 6]
    assert losses_of(tmp_path / "whole") == losses_of(tmp_path / "killed")


def test_a_checkpoint_of_something_else_is_not_gone_on_from(course, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(course, tmp_path, 5)
    other = trained(replace(course, of="another teacher"), tmp_path)
    assert [row["step"] for row in losses_of(tmp_path)] == [1, 2, 3, 4, 5, 6]
    alone = trained(course, tmp_path / "alone")
    assert all(torch.equal(other[name], alone[name]) for name in other)


def gradients(course, folder, **changes):
    """The first moments after one step: a share of its gradient."""
    trained(course, folder, steps=1, **changes)
    state = torch.load(folder / CHECKPOINT, weights_only=True)["optimizer"]["state"]
    return {name: moments["exp_avg"] for name, moments in state.items()}


def test_parts_have_the_gradient_of_the_whole_batch(course, tmp_path):
    every = {"losses": RecoveryLosses(output=1, task=0.5, feature=0.5), "precision": "float32"}
    found = [
        gradients(course, tmp_path / str(size), machine={"micro_batch": size}, **every)
        for size in (4, 3, 1)
    ]
    size = apart(found[0], {name: torch.zeros_like(x) for name, x in found[0].items()})
    assert size > 0
    assert apart(found[0], found[1]) < 1e-4 * size
    assert apart(found[0], found[2]) < 1e-4 * size
    rows = [losses_of(tmp_path / str(size))[0] for size in (4, 3, 1)]
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)
    assert rows[2] == pytest.approx(rows[0], rel=1e-5)


@pytest.mark.slow
def test_checkpointed_activations_change_memory_only(course, tmp_path):
    losses = RecoveryLosses(feature=1.0)
    one = trained(course, tmp_path / "one", losses=losses)
    two = trained(course, tmp_path / "two", losses=losses, machine={"gradient_checkpointing": True})
    assert apart(one, two) < 1e-5


def test_a_step_that_does_not_fit_is_learned_in_smaller_parts(course, tmp_path, monkeypatch):
    sizes, real = [], Tutor.losses

    def losses(self, model, student, batch):
        sizes.append((batch.size, student.is_gradient_checkpointing))
        if batch.size > 2:
            raise torch.OutOfMemoryError("no more")
        return real(self, model, student, batch)

    whole = gradients(course, tmp_path / "whole")
    monkeypatch.setattr(Tutor, "losses", losses)
    halved = gradients(course, tmp_path / "halved")
    assert sizes == [(4, False), (4, True), (2, True), (2, True)]
    size = apart(whole, {name: torch.zeros_like(x) for name, x in whole.items()})
    assert apart(whole, halved) < 1e-4 * size
    with pytest.raises(WorkError, match="micro_batch"):
        trained(course, tmp_path / "fixed", machine={"micro_batch": 4})


def test_without_averaging_the_last_weights_are_returned(course, tmp_path):
    last = trained(course, tmp_path / "last", ema=0.0)
    mean = trained(course, tmp_path / "mean")
    state = torch.load(tmp_path / "last" / CHECKPOINT, weights_only=True)
    assert state["average"] == []
    assert all(torch.equal(last[name], state["weights"][name]) for name in last)
    assert apart(last, mean) > 1e-5


def test_pictures_show_the_averaged_weights_and_training_goes_on_with_the_last(course, tmp_path):
    shown = []

    def run(folder, draw):
        recipe = course.recipe.model_copy(update={"steps": 2, "picture_every": 1})
        progress = begin_recovery(course.teacher.student(ARCH), recipe, folder / CHECKPOINT, "")
        watch = Watch(lambda step, row: None, draw)
        school = replace(course, recipe=recipe, of="")
        return finetune_student(progress, school, folder, World(), watch).state_dict()

    drawn = run(
        tmp_path / "drawn",
        lambda step, unet: shown.append({k: v.clone() for k, v in unet.state_dict().items()}),
    )
    plain = trained(course, tmp_path / "plain", steps=2)
    assert all(torch.equal(drawn[name], plain[name]) for name in plain)
    assert all(torch.equal(drawn[name], shown[-1][name]) for name in drawn)


def test_all_losses_are_logged_and_fall_on_one_lesson(course, tmp_path):
    class OnePicture:
        count, skips, captions = 1, False, ("",)

        def __getitem__(self, place):
            return course.source[0, 0]

    losses = RecoveryLosses(output=1, task=0.5, feature=0.5)
    recipe = course.recipe.model_copy(update={"batch_size": 8})
    same = replace(course, source=OnePicture(), recipe=recipe)
    trained(same, tmp_path, losses=losses, steps=12)
    rows = losses_of(tmp_path)
    assert set(rows[0]) == {"step", "loss", "output", "task", "feature"}
    weighted = rows[0]["output"] + 0.5 * rows[0]["task"] + 0.5 * rows[0]["feature"]
    assert rows[0]["loss"] == pytest.approx(weighted, rel=1e-5)
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_the_unpruned_student_says_what_its_teacher_says(course, teacher, tmp_path):
    from sdsearch.unet.architecture import UNPRUNED

    losses = RecoveryLosses(output=1, feature=1)
    recipe = course.recipe.model_copy(update={"losses": losses, "steps": 1})
    unet = teacher.student(UNPRUNED)
    whole = replace(course, arch=UNPRUNED, recipe=recipe)
    progress = begin_recovery(unet, recipe, tmp_path / CHECKPOINT, "")
    finetune_student(progress, whole, tmp_path, World())
    (row,) = losses_of(tmp_path)
    assert row["output"] == pytest.approx(0, abs=1e-9)
    assert row["feature"] == pytest.approx(0, abs=1e-9)


def test_a_teacher_that_overflows_in_half_precision_answers_in_float32(
    course, tmp_path, monkeypatch
):
    real = Tutor._answer

    def answer(self, inputs, target):
        answers = real(self, inputs, target)
        return replace(answers, output=answers.output * float("inf")) if self.is_half else answers

    monkeypatch.setattr(Tutor, "_answer", answer)
    half = gradients(course, tmp_path / "half", teacher_dtype="bfloat16")
    full = gradients(course, tmp_path / "full")
    assert all(torch.equal(half[name], full[name]) for name in full)


def test_a_loss_that_is_not_finite_is_failed_work_and_no_checkpoint(course, tmp_path):
    unet = course.teacher.student(ARCH)
    unet.conv_in.weight.data.fill_(float("inf"))
    progress = begin_recovery(unet, course.recipe, tmp_path / CHECKPOINT, "")
    with pytest.raises(WorkError, match="finite"):
        finetune_student(progress, course, tmp_path, World())
    assert not (tmp_path / CHECKPOINT).exists()


def test_the_learning_rate_rises_and_then_falls_or_stays(course, tmp_path, monkeypatch):
    def rates(folder, **changes):
        seen = []
        monkeypatch.setattr(
            torch.optim.AdamW,
            "step",
            lambda self, closure=None: seen.append(self.param_groups[0]["lr"]),
        )
        trained(course, tmp_path / folder, batch_size=1, steps=8, **changes)
        return [rate / course.recipe.learning_rate for rate in seen]

    assert rates("constant", warmup=0.5, decay="constant") == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates("flat", warmup=0.0, decay="constant") == [1] * 8
    cosine = rates("cosine", warmup=0.25)
    assert cosine[0] == 0.5
    assert cosine[2:] == sorted(cosine[2:], reverse=True)
    assert cosine[-1] < 0.05


def test_trackers_are_those_of_accelerate() -> None:
    assert set(get_args(Tracker)) - {"none"} == {str(one) for one in LoggerType} - {"all"}


def test_losses_go_to_the_tracker_that_is_asked_for(course, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trained(course, tmp_path, tracker="tensorboard", steps=3)
    events = EventAccumulator(str(tmp_path / "sdsearch")).Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    wanted = {row["step"]: row["loss"] for row in losses_of(tmp_path)}
    assert found == pytest.approx(wanted, rel=1e-6)
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match="pip install comet-ml"):
        trained(course, tmp_path / "without", tracker="comet_ml")


@pytest.mark.parametrize("channels", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_a_long_recovery_on_a_gpu_learns_what_one_on_the_processor_does(course, tmp_path, channels):
    losses = RecoveryLosses(output=1, task=1, feature=1)
    changes = {"losses": losses, "steps": 3, "machine": {"micro_batch": 3}}
    known = replace(course, teacher=with_channels(course.teacher, channels))
    trained(known, tmp_path / "here", **changes)
    with pretended_gpu() as marks:
        teacher = with_channels(load_teacher(open_pipeline("tiny"), GPU), channels)
        marks.waits = 0
        trained(replace(course, teacher=teacher), tmp_path / "there", **changes)
    here, there = (losses_of(tmp_path / name) for name in ("here", "there"))
    assert there[0] == pytest.approx(here[0], rel=1e-4)
    # AdamW steps far on what is rounding in both.
    assert there[-1] == pytest.approx(here[-1], rel=0.02)
    assert marks.waits <= 3 * 2, "a step waits for its losses, and for the norm of its gradients"


def test_more_processes_than_pictures_are_refused(course, tmp_path):
    progress = begin_recovery(course.teacher.student(ARCH), RECIPE, tmp_path / CHECKPOINT, "")
    with pytest.raises(InputError, match="5 processes"):
        finetune_student(progress, course, tmp_path, World(0, 5))


def test_a_long_recovery_leaves_weights_values_log_and_pictures(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    study = make_study(tmp_path / "study", LONG)
    write_list(study)
    assert ask(FinetuneRequest(study=study.root, arch_key=KEY), tmp_path) == 0
    folder = study.finetuned_dir(KEY)
    values = json.loads((folder / "values.json").read_text())
    assert values["before"]["fd_efflite0"]["n"] == 12
    before, after = (values[when]["latent_mse_vs_teacher"]["value"] for when in ("before", "after"))
    assert after < before
    assert len((folder / "log.jsonl").read_text().splitlines()) == 4
    assert (folder / "step-000004.png").is_file()
    assert not (folder / CHECKPOINT).exists()
    stamp = (folder / "weights.safetensors").stat().st_mtime_ns
    assert ask(FinetuneRequest(study=study.root, arch_key=KEY), tmp_path) == 0
    assert (folder / "weights.safetensors").stat().st_mtime_ns == stamp


def test_damaged_lines_of_a_log_are_dropped_and_stop_no_recovery(tmp_path):
    log, whole = tmp_path / "log.jsonl", b'{"step": 1}\n{"step": 2}\n'
    damaged = b'{"step": \xff}\n[1]\n{"stap": 1}\n{"step": "1"}\n\0\n'
    log.write_bytes(whole + damaged + b'{"step": 3}\n{"step":')
    trim_log(log, 2)
    assert log.read_bytes() == whole


def test_a_design_that_was_not_built_is_one_clear_error(tmp_path):
    study = make_study(tmp_path / "study", LONG)
    done = CliRunner().invoke(app, ["recover", str(study.root), "--design", "autobuild-9"])
    assert isinstance(done.exception, InputError)
    assert "build some first" in str(done.exception)


@pytest.mark.slow
def test_two_processes_recover_what_one_does_within_a_tenth_of_the_way(tmp_path):
    states, losses = [], []
    for count in (1, 2):
        study = make_study(tmp_path / str(count), LONG)
        write_list(study)
        request = FinetuneRequest(study=study.root, arch_key=KEY, processes=count)
        with written(request) as file:
            line = harness_line(file, count)
            done = subprocess.run(line, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        folder = study.finetuned_dir(KEY)
        states.append(load_file(folder / "weights.safetensors"))
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        losses.append([row["loss"] for row in rows])
    teacher = load_teacher(open_pipeline("tiny"), torch.device("cpu"))
    start = teacher.student(tiny_member("bk-tiny"))
    moved = apart(states[0], start.state_dict())
    assert moved > 0.1
    # The gradients are those of one process; AdamW steps far on what is rounding in both.
    assert apart(*states) < 0.1 * moved
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-5)
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
