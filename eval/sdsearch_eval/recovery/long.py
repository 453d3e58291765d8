"""The long recovery of a design that will be exported: many steps, on any number of processes.

Same lessons, losses and optimizer as the short recovery of labels; on top of it EMA weights,
accumulation, checkpointing of activations, mixed precision, checkpoints and pictures. A step's
batch depends on seed and step alone and is dealt to the processes, so that two of them learn what
one does, but for the order in which gradients are summed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.files import write_atomic
from sdsearch_eval.recovery.distillation import FeatureLoss
from sdsearch_eval.recovery.short import learning_rate_share
from sdsearch_eval.recovery.step import Lesson, recovery_losses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import LongRecovery
    from sdsearch.unet import Architecture
    from sdsearch_eval.recovery.short import Lessons
    from sdsearch_eval.world import World

    Report = Callable[[int, dict[str, float], UNet2DConditionModel], None]


@dataclass(slots=True)
class Run:
    """What a checkpoint holds: the step, the weights, their running mean, AdamW's moments."""

    unet: UNet2DConditionModel
    optimizer: torch.optim.AdamW
    average: list[Tensor]
    step: int = 0

    @property
    def parameters(self) -> list[Tensor]:
        """The trained tensors, in the order of the net."""
        return list(self.unet.parameters())


def finetune_student(
    unet: UNet2DConditionModel,
    arch: Architecture,
    lessons: Lessons,
    recipe: LongRecovery,
    folder: Path,
    world: World,
    report: Report | None = None,
) -> UNet2DConditionModel:
    """Train the student of `arch` for the steps that are left, and return it with its EMA weights.

    Checkpoints and `log.jsonl` are kept in `folder` by the first process; a killed run goes on from
    the last one. `report` is called there after every step.

    Raises:
        InputError: a batch cannot be dealt to the processes and micro-batches in equal parts, or
            TensorBoard is asked for and not installed.
        WorkError: the loss is not finite.
    """
    from accelerate import Accelerator

    parts = world.size * recipe.accumulate
    if recipe.batch_size % parts:
        raise InputError(
            f"batch_size must be a multiple of processes times accumulate, but {recipe.batch_size} "
            f"is none of {world.size} * {recipe.accumulate}"
        )
    if recipe.tensorboard and find_spec("tensorboard") is None:
        raise InputError(
            "[export.recovery] tensorboard = true needs the package tensorboard, which is not "
            'installed; run: pip install "sdsearch[tensorboard]"'
        )
    accelerator = Accelerator(
        cpu=world.device.type == "cpu",
        mixed_precision=recipe.mixed_precision,
        gradient_accumulation_steps=recipe.accumulate,
        log_with="tensorboard" if recipe.tensorboard else None,
        project_dir=folder,
    )
    accelerator.init_trackers("tensorboard")
    run = _begin(unet, recipe, folder)
    if world.is_first:
        _trim_log(folder / "log.jsonl", run.step)
    features = FeatureLoss(arch, lessons, unet) if recipe.losses.feature else None
    model, optimizer = accelerator.prepare(unet, run.optimizer)
    while run.step < recipe.steps:
        _set_learning_rate(run, recipe)
        row: dict[str, float] = {}
        lesson = lessons.make(run.step)
        for part in _micro_batches(lesson, world, recipe):
            with accelerator.accumulate(model):
                losses = recovery_losses(model, part, recipe, features, lesson)
                weighted = [getattr(recipe.losses, name) * x for name, x in losses.items()]
                loss = torch.stack(weighted).sum()
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            for name, x in {**losses, "loss": loss}.items():
                row[name] = row.get(name, 0.0) + float(x.detach()) / recipe.accumulate
        if world.size > 1:
            told = torch.tensor(list(row.values()), device=world.device)
            row = dict(zip(row, accelerator.reduce(told, "mean").tolist(), strict=True))
        _finish_step(run, recipe, row, folder, world)
        accelerator.log(row, step=run.step)
        if report is not None and world.is_first:
            report(run.step, row, unet)
    # `end_training` would also end the process group, which the job still needs.
    for tracker in accelerator.trackers:
        tracker.finish()
    with torch.no_grad():
        for parameter, mean in zip(run.parameters, run.average, strict=True):
            parameter.copy_(mean)
    return unet.eval().requires_grad_(False)


def _begin(unet: UNet2DConditionModel, recipe: LongRecovery, folder: Path) -> Run:
    unet.train().requires_grad_(True)
    if recipe.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    run = Run(unet, optimizer, [p.detach().clone() for p in unet.parameters()])
    path = folder / "checkpoint.safetensors"
    if path.is_file():
        _load(run, path)
    return run


def _set_learning_rate(run: Run, recipe: LongRecovery) -> None:
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.learning_rate * learning_rate_share(run.step, recipe.steps)


def _micro_batches(lesson: Lesson, world: World, recipe: LongRecovery) -> Iterator[Lesson]:
    """This process's share of a batch, in `accumulate` parts of equal size."""
    count = len(lesson.timesteps)
    mine = torch.arange(world.rank, count, world.size)
    for index in mine.chunk(recipe.accumulate):
        yield Lesson(*(getattr(lesson, field.name)[index] for field in fields(Lesson)))


def _finish_step(
    run: Run, recipe: LongRecovery, row: dict[str, float], folder: Path, world: World
) -> None:
    """Count the step, average the weights, log, and keep a checkpoint where one is due."""
    if not np.isfinite(row["loss"]):
        raise WorkError(
            f"the recovery loss must be finite, but is {row['loss']} at step {run.step}"
        )
    run.step += 1
    decay = min(recipe.ema, (1 + run.step) / (10 + run.step)) if recipe.ema else 0.0
    torch._foreach_lerp_(run.average, [p.detach() for p in run.parameters], 1 - decay)
    if not world.is_first:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"step": run.step, **row}) + "\n")
    if run.step % recipe.checkpoint_every == 0 or run.step == recipe.steps:
        _save(run, folder / "checkpoint.safetensors")


def _trim_log(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_atomic(path, "".join(kept))


def _save(run: Run, path: Path) -> None:
    from safetensors.torch import save

    state: dict[str, Tensor] = {"step": torch.tensor(run.step)}
    for number, (parameter, mean) in enumerate(zip(run.parameters, run.average, strict=True)):
        state |= {f"weight.{number}": parameter.detach(), f"average.{number}": mean}
        moments: dict[str, Any] = run.optimizer.state[parameter]
        state |= {f"{name}.{number}": value for name, value in moments.items()}
    write_atomic(path, save({name: tensor.contiguous() for name, tensor in state.items()}))


def _load(run: Run, path: Path) -> None:
    from safetensors.torch import load

    state = load(path.read_bytes())
    run.step = int(state["step"])
    with torch.no_grad():
        for number, (parameter, mean) in enumerate(zip(run.parameters, run.average, strict=True)):
            parameter.copy_(state[f"weight.{number}"])
            mean.copy_(state[f"average.{number}"])
            moments = {
                name: torch.empty_like(parameter).copy_(state[f"{name}.{number}"])
                for name in ("exp_avg", "exp_avg_sq")
            }
            run.optimizer.state[parameter] = {"step": state[f"step.{number}"].clone(), **moments}
