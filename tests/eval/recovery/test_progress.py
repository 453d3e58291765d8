"""A checkpoint holds all of a run, bit for bit, and costs no second copy of it in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from sdsearch.labels.recovery import LongRecovery
from sdsearch_eval.recovery.progress import begin_recovery
from tests.fakes import tiny_member

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch_eval.models import Teacher
    from sdsearch_eval.recovery.progress import Progress

RECIPE = LongRecovery(ema=0.9)


def stepped(progress: Progress, steps: int = 1) -> Progress:
    """Some steps along gradients that depend on the step alone."""
    for _ in range(steps):
        generator = torch.Generator().manual_seed(progress.step)
        for weight in progress.unet.parameters():
            weight.grad = torch.empty_like(weight).normal_(generator=generator)
        progress.optimizer.step()
        progress.optimizer.zero_grad(set_to_none=True)
        progress.finish_step(RECIPE.ema)
    return progress


def begun(teacher: Teacher, path: Path, of: str = "it") -> Progress:
    return begin_recovery(teacher.student(tiny_member("bk-tiny")), RECIPE, path, of)


def test_a_saved_run_goes_on_bit_for_bit(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.pt"
    saved = stepped(begun(teacher, path), 2)
    saved.save(path, "it")
    read = begun(teacher, path)
    assert read.step == 2
    whole, again = (stepped(one, 2).finish().state_dict() for one in (saved, read))
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert all(whole[name].stride() == again[name].stride() for name in whole)
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_the_run_of_something_else_is_begun_anew(teacher: Teacher, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    stepped(begun(teacher, path)).save(path, "it")
    assert begun(teacher, path, "another").step == 0


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_checkpoint_in_which_a_bit_flipped_is_said_and_begun_anew(
    teacher: Teacher, tmp_path: Path, share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "checkpoint.pt"
    stepped(begun(teacher, path)).save(path, "it")
    damaged = bytearray(path.read_bytes())
    damaged[int(share * len(damaged))] ^= 4
    path.write_bytes(damaged)
    assert begun(teacher, path, "it").step == 0
    assert capsys.readouterr().err.count("all steps are done again") == 1


def test_the_mean_of_the_weights_is_exponential_and_begins_fast(
    teacher: Teacher, tmp_path: Path
) -> None:
    progress = begun(teacher, tmp_path / "none.pt")
    mean = [weight.detach().double() for weight in progress.unet.parameters()]
    for step in range(1, 5):
        stepped(progress)
        decay = min(RECIPE.ema, (1 + step) / (10 + step))
        for number, weight in enumerate(progress.unet.parameters()):
            mean[number] = decay * mean[number] + (1 - decay) * weight.detach().double()
    for found, wanted in zip(progress.average, mean, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-6)


def test_averaged_weights_change_places_and_come_back(teacher: Teacher, tmp_path: Path) -> None:
    progress = stepped(begun(teacher, tmp_path / "none.pt"))
    last = {name: x.clone() for name, x in progress.unet.state_dict().items()}
    mean = [x.clone() for x in progress.average]
    with progress.averaged() as unet:
        shown = list(unet.parameters())
        assert all(torch.equal(a, b) for a, b in zip(shown, mean, strict=True))
        assert not unet.training
    back = progress.unet.state_dict()
    assert all(torch.equal(last[name], back[name]) for name in last)
    assert progress.unet.training


MEMORY = """
import resource, sys
from pathlib import Path
import torch
from sdsearch.labels import LongRecovery
from sdsearch_eval.recovery.progress import begin_recovery

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def step(progress):
    for weight in progress.unet.parameters():
        weight.grad = torch.ones_like(weight)
    progress.optimizer.step()
    progress.optimizer.zero_grad(set_to_none=True)
    progress.finish_step(0.9)

class Net(torch.nn.Module):
    device = torch.device("cpu")
    def __init__(self):
        super().__init__()
        self.parts = torch.nn.ParameterList(torch.randn(1024, 1024) for _ in range(24))

path, recipe = Path(sys.argv[1]), LongRecovery(ema=0.9)
empty = peak()
progress = begin_recovery(Net(), recipe, path, "it")
if sys.argv[2] == "save":
    step(progress)
    before = peak()
    progress.save(path, "it")
    step(progress)
else:
    assert progress.step == 1
    before = empty + 5 * 96
    step(progress)
print(peak() - before)
"""


@pytest.mark.slow
def test_a_checkpoint_takes_no_memory_on_top_of_a_step(tmp_path: Path) -> None:
    """A step holds weights of 96 MB five times: with gradients, mean and two moments."""
    path = tmp_path / "checkpoint.pt"
    found = {}
    for what in ("save", "load"):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(path), what],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=True,
        )
        found[what] = float(done.stdout)
    assert path.stat().st_size < 4.1 * 96 * 2**20
    assert max(found.values()) < 60, found
