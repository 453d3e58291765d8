from __future__ import annotations

import json
import subprocess

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.harness import harness_line, written
from sdsearch.labels.protocol import LongRecovery, RecoveryLosses
from sdsearch.pipelines import open_pipeline
from sdsearch.study.requests import FinetuneRequest
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.jobs import workspace as job
from sdsearch_eval.models.teacher import load_teacher
from sdsearch_eval.recovery import long as finetune
from sdsearch_eval.recovery.long import finetune_student
from sdsearch_eval.recovery.short import Lessons
from sdsearch_eval.world import World
from tests.eval.desk import ask
from tests.eval.jobs.test_processes import KEY, TOML, environment, make_study, write_list
from tests.fakes import tiny_member

ARCH = tiny_member("bk-small")
RECIPE = LongRecovery(steps=6, batch_size=4, learning_rate=1e-3, ema=0.9, checkpoint_every=2)
LONG = TOML + "[export.recovery]\nsteps = 4\nbatch_size = 4\nlearning_rate = 1e-3\nema = 0.5\n"


@pytest.fixture(scope="module")
def lessons(teacher, small, tmp_path_factory):
    protocol = small.model_copy(update={"recovery": RECIPE})
    return Lessons(teacher, protocol, 0, TensorCache(tmp_path_factory.mktemp("cache"), {}), 8)


def trained(teacher, lessons, recipe, folder, report=None):
    unet = teacher.student(ARCH)
    return finetune_student(unet, ARCH, lessons, recipe, folder, World(), report).state_dict()


def apart(first, second):
    """The distance of two sets of weights; AdamW makes a full step of any rounding around 0, so
    that single weights say little."""
    return sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5


def test_a_killed_run_goes_on_from_its_checkpoint_and_ends_bit_for_bit_the_same(
    teacher, lessons, tmp_path
):
    whole = trained(teacher, lessons, RECIPE, tmp_path / "whole")

    def kill(step, row, unet):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(teacher, lessons, RECIPE, tmp_path / "killed", kill)
    again = trained(teacher, lessons, RECIPE, tmp_path / "killed")
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "killed")
    ]
    assert [row["step"] for row in logs[1]] == [1, 2, 3, 4, 5, 6]
    assert logs[0] == logs[1]


def test_accumulated_parts_have_the_gradient_of_the_whole_batch(teacher, lessons, tmp_path):
    gradients = []
    for parts in (1, 2, 4):
        recipe = RECIPE.model_copy(update={"accumulate": parts, "steps": 1})
        trained(teacher, lessons, recipe, tmp_path / str(parts))
        state = load_file(tmp_path / str(parts) / "checkpoint.safetensors")
        gradients.append({k: v for k, v in state.items() if k.startswith("exp_avg.")})
    size = apart(gradients[0], {k: torch.zeros_like(v) for k, v in gradients[0].items()})
    assert size > 0
    assert apart(gradients[0], gradients[1]) < 1e-4 * size
    assert apart(gradients[0], gradients[2]) < 1e-4 * size


def test_checkpointed_activations_change_memory_only(teacher, lessons, tmp_path):
    one = trained(teacher, lessons, RECIPE, tmp_path / "one")
    saving = RECIPE.model_copy(update={"gradient_checkpointing": True})
    assert apart(one, trained(teacher, lessons, saving, tmp_path / "two")) < 1e-5


def test_without_averaging_the_last_weights_are_returned(teacher, lessons, tmp_path):
    last = trained(teacher, lessons, RECIPE.model_copy(update={"ema": 0.0}), tmp_path / "last")
    mean = trained(teacher, lessons, RECIPE, tmp_path / "mean")
    state = load_file(tmp_path / "last" / "checkpoint.safetensors")
    assert torch.equal(state["weight.0"], state["average.0"])
    assert torch.equal(next(iter(last.values())), state["weight.0"])
    assert apart(last, mean) > 1e-5


def test_all_losses_are_logged_and_fall_on_one_lesson(teacher, lessons, tmp_path):
    losses = RecoveryLosses(output=1, task=0.5, feature=0.5)
    recipe = RECIPE.model_copy(update={"losses": losses, "steps": 8})
    same = OneLesson(lessons)
    trained(teacher, same, recipe, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert set(rows[0]) == {"step", "loss", "output", "task", "feature"}
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_losses_go_to_tensorboard_where_it_is_asked_for(teacher, lessons, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    recipe = RECIPE.model_copy(update={"tensorboard": True, "steps": 3})
    trained(teacher, lessons, recipe, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert found == pytest.approx({row["step"]: row["loss"] for row in rows}, rel=1e-6)
    monkeypatch.setattr(finetune, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"sdsearch\[tensorboard\]"):
        trained(teacher, lessons, recipe, tmp_path / "without")


class OneLesson:
    def __init__(self, lessons):
        self.teacher, self.first = lessons.teacher, lessons.make(0)

    def make(self, _):
        return self.first

    def unpruned(self):
        return self.teacher.student(tiny_member())


def test_a_batch_that_cannot_be_dealt_equally_is_refused(teacher, lessons, tmp_path):
    with pytest.raises(InputError, match="multiple of processes"):
        trained(teacher, lessons, RECIPE.model_copy(update={"accumulate": 3}), tmp_path)


def test_a_long_recovery_leaves_weights_values_log_and_pictures(tmp_path, teacher, monkeypatch):
    monkeypatch.setattr(job, "load_teacher", lambda *_: teacher)
    study = make_study(tmp_path / "study", LONG)
    write_list(study)
    assert ask(FinetuneRequest(study=study.root, arch_key=KEY), tmp_path) == 0
    folder = study.finetuned_dir(KEY)
    values = json.loads((folder / "values.json").read_text())
    assert values["before"]["fd_efflite0"]["n"] == 12
    before, after = (values[when]["latent_mse_vs_teacher"]["value"] for when in values)
    assert after < before
    assert len((folder / "log.jsonl").read_text().splitlines()) == 4
    assert (folder / "step-000004.png").is_file()
    stamp = (folder / "weights.safetensors").stat().st_mtime_ns
    assert ask(FinetuneRequest(study=study.root, arch_key=KEY), tmp_path) == 0
    assert (folder / "weights.safetensors").stat().st_mtime_ns == stamp


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
