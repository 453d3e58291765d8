"""The long recovery of a design that will be exported: many steps, on any number of processes.

A step's batch depends on seed and step alone and is dealt to the processes, each of which asks the
teacher about its own share: two of them learn what one does, but for the order in which gradients
are summed. A killed run goes on from its last checkpoint and learns what it would have learned.
"""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.files import make_folder, write_atomic
from sdsearch_eval.devices import release_memory
from sdsearch_eval.recovery.step import Cut
from sdsearch_eval.recovery.stream import Order, Pictures, open_stream
from sdsearch_eval.recovery.tutor import Tutor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import LongRecovery
    from sdsearch.study import MachineConfig
    from sdsearch.unet import Architecture
    from sdsearch_eval.models import Teacher
    from sdsearch_eval.recovery.latents import LatentFile
    from sdsearch_eval.recovery.progress import Progress
    from sdsearch_eval.recovery.sources import Source
    from sdsearch_eval.recovery.stream import Batch
    from sdsearch_eval.world import World

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class Course:
    """What a student learns, from whom, and how a step is laid out on this machine.

    Attributes:
        of: names all that decides what is learned; a checkpoint of anything else is not gone on
            from.
        arch: the student's architecture.
        resolution: side of the pictures in pixels.
        latents: of all pictures of `source`, where they were encoded beforehand.
    """

    of: str
    arch: Architecture
    teacher: Teacher
    source: Source
    recipe: LongRecovery
    seed: int
    resolution: int
    machine: MachineConfig
    latents: LatentFile | None = None

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """The shape of a picture's latents."""
        side = self.resolution // self.teacher.latent_factor
        return int(self.teacher.vae.config.latent_channels), side, side

    @property
    def sees_masks(self) -> bool:
        """Whether the UNets get the mask and the masked image besides: 9 input channels."""
        return self.teacher.backbone.in_channels != self.latent_shape[0]


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of a recovery, in the first process.

    Attributes:
        tell: is given the number of steps that are done, and the losses of the last, after each;
            and the number alone before the first.
        draw: is given the number and the student with its averaged weights, where a picture is due.
    """

    tell: Callable[[int, dict[str, float]], None]
    draw: Callable[[int, UNet2DConditionModel], None]


def finetune_student(
    progress: Progress, course: Course, folder: Path, world: World, watch: Watch | None = None
) -> UNet2DConditionModel:
    """Train for the steps that are left, and return the student with its averaged weights.

    Checkpoint and `log.jsonl` are kept in `folder` by the first process.

    Raises:
        InputError: there are more processes than pictures in a batch, the package of the tracker is
            missing, or a picture cannot be read.
        WorkError: the loss is not finite, or the smallest step does not fit into memory.
    """
    recipe, unet = course.recipe, progress.unet
    if recipe.batch_size < world.size:
        raise InputError(
            f"every process must have a picture of each batch, but batch_size is "
            f"{recipe.batch_size} for {world.size} processes"
        )
    accelerator = _open_accelerator(recipe, folder, world)
    model = accelerator.prepare(unet) if world.size > 1 else unet
    school = _School(model, unet, course, world, accelerator)
    if world.is_first:
        make_folder(folder, folder.parent)
        trim_log(folder / "log.jsonl", progress.step)
        if watch is not None:
            watch.tell(progress.step, {})
    order = Order(course.seed, course.source.count, recipe.batch_size)
    pictures = Pictures(course.source, recipe, course.seed, course.latent_shape, course.latents)
    steps = range(progress.step, recipe.steps)
    for batch in open_stream(pictures, order, steps, world, course.machine.workers):
        _set_learning_rate(progress, recipe)
        row = school.learn(batch)
        if not np.isfinite(row["loss"]):
            raise WorkError(
                f"the recovery loss must be finite, but is {row['loss']} at step {progress.step}"
            )
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        progress.optimizer.step()
        progress.optimizer.zero_grad(set_to_none=True)
        progress.finish_step(recipe.ema)
        accelerator.log(row, step=progress.step)
        if world.is_first:
            _report(progress, row, course, folder, watch)
    # `end_training` would also end the process group, which the job still needs.
    for tracker in accelerator.trackers:
        tracker.finish()
    return progress.finish()


class _School:
    """One step's lessons: the gradients of this process's share, the losses of the whole batch."""

    def __init__(
        self,
        model: torch.nn.Module,
        unet: UNet2DConditionModel,
        course: Course,
        world: World,
        accelerator: Any,
    ) -> None:
        self._model, self._unet, self._world = model, unet, world
        self._accelerator, self._recipe = accelerator, course.recipe
        self._tutor = Tutor(course.arch, course.teacher, course.recipe)
        self._cut = Cut.of(course.machine, course.recipe.batch_size)

    def learn(self, batch: Batch) -> dict[str, float]:
        """Leave the gradients in the student, and tell the losses by name."""
        row = self._tell(self._fit(batch, self._tutor))
        if not np.isfinite(row["loss"]) and self._tutor.is_half:
            self._unet.zero_grad(set_to_none=True)
            row = self._tell(self._fit(batch, self._tutor.in_float32()))
        return row

    def _tell(self, sums: dict[str, Tensor]) -> dict[str, float]:
        """The losses summed over the processes: the only wait of a step for the device."""
        told = torch.stack(list(sums.values()))
        if self._world.size > 1:
            told = self._accelerator.reduce(told, "sum")
        return dict(zip(sums, told.tolist(), strict=True))

    def _fit(self, batch: Batch, tutor: Tutor) -> dict[str, Tensor]:
        """Learn in smaller parts, where that is allowed, until a step fits into memory."""
        while True:
            try:
                return self._learn_parts(batch, tutor)
            except torch.OutOfMemoryError:
                # Other processes may wait for this one's gradients already.
                smaller = self._cut.smaller() if self._world.size == 1 else None
                if smaller is None:
                    raise WorkError(
                        f"a step of a long recovery must fit into memory, but {self._cut} does "
                        "not; set a smaller [machine] micro_batch, or gradient_checkpointing = true"
                    ) from None
            # Outside of the handler, whose traceback keeps the tensors of the failed try alive.
            self._cut = smaller
            self._unet.zero_grad(set_to_none=True)
            release_memory(self._world.device)

    def _learn_parts(self, batch: Batch, tutor: Tutor) -> dict[str, Tensor]:
        if self._cut.checkpointing and not self._unet.is_gradient_checkpointing:
            self._unet.enable_gradient_checkpointing()
        parts = list(batch.parts(self._cut.micro_batch))
        sums: dict[str, Tensor] = {}
        for number, part in enumerate(parts):
            is_last = number + 1 == len(parts)
            with nullcontext() if is_last else self._accelerator.no_sync(self._model):
                losses = tutor.losses(self._model, self._unet, part)
                weights = self._recipe.losses
                loss = torch.stack([getattr(weights, name) * x for name, x in losses.items()]).sum()
                share = part.size / self._recipe.batch_size
                # Gradients of processes are averaged, those of parts are added.
                (loss * (share * self._world.size)).backward()
            for name, x in {"loss": loss, **losses}.items():
                sums[name] = x.detach() * share + sums.get(name, 0.0)
        return sums


def _open_accelerator(recipe: LongRecovery, folder: Path, world: World) -> Any:
    """What wraps the student for several processes, and tells the tracker.

    Raises:
        InputError: the tracker's package is missing.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.tracking import get_available_trackers

    tracker = None if recipe.tracker == "none" else recipe.tracker
    if tracker is not None and tracker not in map(str, get_available_trackers()):
        package = tracker.replace("_", "-")
        raise InputError(
            f'tracker = "{tracker}" needs the package {package}, which is not installed; run: '
            f"pip install {package}"
        )
    accelerator = Accelerator(
        cpu=world.device.type == "cpu",
        mixed_precision="no",
        log_with=tracker,
        project_dir=folder,
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    if tracker is not None:
        accelerator.init_trackers("sdsearch")
    return accelerator


def _set_learning_rate(progress: Progress, recipe: LongRecovery) -> None:
    """A linear rise over the warm-up, then what the recipe says."""
    warm, step = max(1, round(recipe.warmup * recipe.steps)), progress.step
    falling = 0.5 * (1 + np.cos(np.pi * step / recipe.steps))
    share = min((step + 1) / warm, falling if recipe.decay == "cosine" else 1.0)
    for group in progress.optimizer.param_groups:
        group["lr"] = recipe.learning_rate * float(share)


def _report(
    progress: Progress, row: dict[str, float], course: Course, folder: Path, watch: Watch | None
) -> None:
    """Log the step, keep a checkpoint and have a picture drawn where they are due."""
    step, recipe = progress.step, course.recipe
    is_last = step == recipe.steps
    with (folder / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"step": step, **row}) + "\n")
    if watch is not None:
        watch.tell(step, row)
    if step % recipe.checkpoint_every == 0 or is_last:
        progress.save(folder / CHECKPOINT, course.of)
    if watch is not None and (step % recipe.picture_every == 0 or is_last):
        with progress.averaged() as unet:
            watch.draw(step, unet)


def trim_log(path: Path, step: int) -> None:
    """Drop what a killed run logged after its last checkpoint, and lines that are damaged."""
    if path.is_file():
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if line.endswith(b"\n") and _step_of(line) <= step]
        write_atomic(path, b"".join(kept))


def _step_of(line: bytes) -> float:
    """The step that a line of the log tells of; infinite where it cannot be read."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf
