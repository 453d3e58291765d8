"""Recovery: a short seeded fine-tune of an inherited student towards its teacher's outputs.

The batches depend on the seed and the step alone, and the teacher's answers to them are computed
once per study, so that every architecture sees the same lesson and pays only for itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.errors import WorkError
from sdsearch.study import MachineConfig
from sdsearch.unet import UNPRUNED
from sdsearch_eval.data import load_recovery_samples
from sdsearch_eval.devices import place_tensors
from sdsearch_eval.recovery.distillation import FeatureLoss
from sdsearch_eval.recovery.step import Cut, Lesson, learn_lesson, make_optimizer
from sdsearch_eval.sampling import (
    UNetInputs,
    cast_unet,
    images_to_tensor,
    prepare_inputs,
    unet_input,
)
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import Protocol, RecoveryRecipe
    from sdsearch.unet import Architecture
    from sdsearch_eval.cache import TensorCache
    from sdsearch_eval.models import Teacher

POOL_BATCHES = 16
"""A recovery meets at most this many batches' worth of images, again under new noise."""


def pool_size(protocol: Protocol) -> int:
    """How many images a recovery may learn from."""
    return protocol.recovery.batch_size * POOL_BATCHES


class Lessons:
    """The batches of a protocol's recovery under one seed, each made once and cached.

    They draw from 16 batches' worth of images.
    """

    def __init__(self, teacher: Teacher, protocol: Protocol, seed: int, cache: TensorCache) -> None:
        self.teacher, self._protocol, self._seed, self._cache = teacher, protocol, seed, cache
        self._net: UNet2DConditionModel | None = None
        self._rows: dict[str, Tensor] | None = None  # the pool, in host memory

    def __getitem__(self, step: int) -> Lesson:
        """The lesson of a step, counted from 0."""
        device = self.teacher.device
        return Lesson(**self._cache.get(self._name(step), lambda: self._make(step), device))

    def fill(self, steps: int) -> None:
        """Make those of the first `steps` lessons that nobody has made yet."""
        for step in range(steps):
            if not self._cache.holds(self._name(step)):
                self[step]
        self._net, self._rows = None, None  # students need the memory

    def ask_teacher(self, model_input: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """The unpruned teacher's answer, in float32.

        Raises:
            WorkError: it is not finite in float32 either, in which what overflows is asked again.
        """
        dtype = self._protocol.recovery.teacher_dtype
        output = _answer(self.unpruned(), model_input, timesteps, text)
        if dtype != "float32" and not torch.isfinite(output).all():
            whole = self.teacher.student(UNPRUNED)
            output = _answer(whole, model_input, timesteps, text)
        if not torch.isfinite(output).all():
            raise WorkError("the teacher's answers must be finite, but hold NaN or infinity")
        return output

    def unpruned(self) -> UNet2DConditionModel:
        """The teacher's UNet in the recipe's precision, held once for all who ask it."""
        if self._net is None:
            dtype = self._protocol.recovery.teacher_dtype
            self._net = cast_unet(self.teacher.student(UNPRUNED), dtype)
        return self._net

    def _name(self, step: int) -> str:
        return f"lesson-s{self._seed}-{step:05d}"

    def _pool(self) -> dict[str, Tensor]:
        samples = load_recovery_samples(self._protocol, pool_size(self._protocol))
        inputs = prepare_inputs(self.teacher, samples, self._seed)
        images = images_to_tensor(np.stack([sample.image for sample in samples]))
        clean = torch.cat([self.teacher.encode_images(part) for part in images.split(32)])
        return {"clean": clean, **inputs.rows()}

    @torch.no_grad()
    def _make(self, step: int) -> dict[str, Tensor]:
        if self._rows is None:
            self._rows = self._cache.get(f"lesson-pool-s{self._seed}", self._pool)
        pool = self._rows
        rng = np.random.default_rng(derive_seed(self._seed, f"step-{step}", "recovery"))
        size = self._protocol.recovery.batch_size
        count = len(pool["clean"])
        index = torch.from_numpy(rng.choice(count, size=size, replace=count < size))
        scheduler = self.teacher.scheduler()
        # One timestep from each of `size` equal strata: less noise in so few steps.
        strata = (np.arange(size) + rng.random(size)) / size
        steps = (strata * scheduler.config.num_train_timesteps).astype(np.int64)
        fresh = rng.standard_normal((size, *pool["clean"].shape[1:]), np.float32)
        device = self.teacher.device
        chosen = place_tensors({name: rows[index] for name, rows in pool.items()}, device)
        timesteps, noise = torch.from_numpy(steps).to(device), torch.from_numpy(fresh).to(device)
        clean, inputs = chosen.pop("clean"), UNetInputs(**chosen)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        model_input = unet_input(self.unpruned(), noisy, inputs)
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, timesteps) if velocity else noise
        return {
            "model_input": model_input,
            "timesteps": timesteps,
            "text": inputs.text,
            "teacher_output": self.ask_teacher(model_input, timesteps, inputs.text),
            "target": target,
        }


@torch.no_grad()
def _answer(
    net: UNet2DConditionModel, model_input: Tensor, timesteps: Tensor, text: Tensor
) -> Tensor:
    given = model_input.to(net.dtype), timesteps, text.to(net.dtype)
    output: Tensor = net(*given, return_dict=False)[0]
    return output.float()


def recover_student(
    unet: UNet2DConditionModel,
    arch: Architecture,
    lessons: Lessons,
    recipe: RecoveryRecipe,
    machine: MachineConfig | None = None,
) -> list[dict[str, float]]:
    """Fine-tune the student of `arch` in place; return the losses of every step by name.

    AdamW: linear warm-up over a tenth of the steps, then cosine decay; gradients clipped to 1.
    Every loss with a weight is told by itself, relative to its target, and `loss` is their weighted
    sum. `machine` says how a step is cut to fit into memory.

    Raises:
        InputError: the optimizer needs a package that is missing.
        WorkError: the loss is not finite.
    """
    unet.train().requires_grad_(True)
    optimizer = make_optimizer(unet, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, recipe.steps)
    )
    features = None
    if recipe.losses.feature:
        features = FeatureLoss(arch, lessons.teacher, unet, lessons.unpruned())
    lessons.fill(recipe.steps)  # else the thread that reads ahead would ask the net of `features`
    machine = machine or MachineConfig()
    cut = Cut.of(machine, recipe.batch_size)
    log: list[dict[str, Tensor]] = []
    with nullcontext() if machine.teacher == "device" else lessons.teacher.wait_on_host():
        for lesson in _read_ahead(lessons, recipe.steps):
            losses, cut = learn_lesson(unet, lesson, recipe, features, cut)
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
            log.append(losses)
    if unet.is_gradient_checkpointing:
        unet.disable_gradient_checkpointing()
    unet.eval().requires_grad_(False)
    return _finite(log)


def _read_ahead(lessons: Lessons, steps: int) -> Iterator[Lesson]:
    """The first lessons in order, each read while the one before is learned."""
    with ThreadPoolExecutor(1, "lessons") as reader:
        coming = reader.submit(lessons.__getitem__, 0) if steps else None
        for step in range(1, steps + 1):
            assert coming is not None
            lesson = coming.result()
            coming = reader.submit(lessons.__getitem__, step) if step < steps else None
            yield lesson


def _finite(log: list[dict[str, Tensor]]) -> list[dict[str, float]]:
    """The losses as numbers, fetched from the device at once: no step waits for them."""
    if not log:
        return []
    table = torch.stack([torch.stack(list(row.values())) for row in log]).tolist()
    rows = [dict(zip(log[0], values, strict=True)) for values in table]
    for step, row in enumerate(rows):
        if not np.isfinite(row["loss"]):
            raise WorkError(
                f"the recovery loss must be finite, but is {row['loss']} at step {step}"
            )
    return rows


def learning_rate_share(step: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then cosine decay: a share of the peak."""
    warm = max(1, steps // 10)
    return float(min((step + 1) / warm, 0.5 * (1 + np.cos(np.pi * step / max(1, steps)))))
