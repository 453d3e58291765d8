"""Recovery: a short seeded fine-tune of an inherited student towards its teacher's outputs.

The batches depend on the seed and the step alone, and the teacher's answers to them are computed
once per study, so that every architecture sees the same lesson and pays only for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from sdsearch.errors import InputError, WorkError
from sdsearch_eval.dataset import load_recovery_samples
from sdsearch_eval.sampling import images_to_tensor, prepare_inputs
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.protocol import Protocol, RecoveryRecipe
    from sdsearch_eval.cache import TensorCache
    from sdsearch_eval.teacher import Teacher

POOL_BATCHES = 16
"""A recovery meets at most this many batches' worth of images, again under new noise."""


def pool_size(protocol: Protocol) -> int:
    """How many images a recovery may learn from."""
    return protocol.recovery.batch_size * POOL_BATCHES


@dataclass(frozen=True, slots=True)
class Lesson:
    """One step's batch: UNet inputs, the teacher's output and the true training target."""

    model_input: Tensor
    timesteps: Tensor
    text: Tensor
    teacher_output: Tensor
    target: Tensor


class Lessons:
    """The batches of a protocol's recovery under one seed, each made once and cached."""

    def __init__(self, teacher: Teacher, protocol: Protocol, seed: int, cache: TensorCache) -> None:
        if protocol.recovery.losses.feature:
            raise InputError(
                "protocol.recovery.losses.feature must be 0: only output distillation and the "
                "task loss are measured so far; use output or task"
            )
        self._teacher, self._protocol, self._seed, self._cache = teacher, protocol, seed, cache
        self._unpruned: UNet2DConditionModel | None = None

    def __getitem__(self, step: int) -> Lesson:
        """The lesson of a step, counted from 0."""
        tensors = self._cache.get(f"lesson-s{self._seed}-{step:05d}", lambda: self._make(step))
        return Lesson(**tensors)

    def _pool(self) -> dict[str, Tensor]:
        samples = load_recovery_samples(self._protocol, pool_size(self._protocol))
        inputs = prepare_inputs(self._teacher, samples, self._seed)
        images = images_to_tensor(np.stack([sample.image for sample in samples]))
        clean = torch.cat([self._teacher.encode_images(part) for part in images.split(32)])
        return {
            "clean": clean,
            "masks": inputs.masks,
            "masked_latents": inputs.masked_latents,
            "text": inputs.text,
        }

    @torch.no_grad()
    def _make(self, step: int) -> dict[str, Tensor]:
        pool = self._cache.get(f"lesson-pool-s{self._seed}", self._pool)
        rng = np.random.default_rng(derive_seed(self._seed, f"step-{step}", "recovery"))
        size = self._protocol.recovery.batch_size
        count = len(pool["clean"])
        index = torch.from_numpy(rng.choice(count, size=size, replace=count < size))
        scheduler = self._teacher.scheduler()
        # One timestep from each of `size` equal strata: less noise in so few steps.
        strata = (np.arange(size) + rng.random(size)) / size
        timesteps = torch.from_numpy(
            (strata * scheduler.config.num_train_timesteps).astype(np.int64)
        )
        clean = pool["clean"][index]
        noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), np.float32)).to(
            clean.device
        )
        noisy = scheduler.add_noise(clean, noise, timesteps)
        model_input = torch.cat([noisy, pool["masks"][index], pool["masked_latents"][index]], dim=1)
        if self._unpruned is None:
            self._unpruned = self._teacher.student(self._teacher.unpruned())
        output = self._unpruned(
            model_input.contiguous(memory_format=torch.channels_last),
            timesteps,
            pool["text"][index],
            return_dict=False,
        )[0]
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, timesteps) if velocity else noise
        return {
            "model_input": model_input,
            "timesteps": timesteps,
            "text": pool["text"][index],
            "teacher_output": output,
            "target": target,
        }


def recover_student(
    unet: UNet2DConditionModel,
    lessons: Lessons,
    recipe: RecoveryRecipe,
    progress: Callable[[int, float], None] | None = None,
) -> float:
    """Fine-tune `unet` in place for `recipe.steps` steps; return the last step's loss.

    AdamW: linear warm-up over a tenth of the steps, then cosine decay; gradients clipped to 1.

    Raises:
        WorkError: the loss is not finite.
    """
    unet.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    value = 0.0
    for step in range(recipe.steps):
        lesson = lessons[step]
        model_input = lesson.model_input.contiguous(memory_format=torch.channels_last)
        output = unet(model_input, lesson.timesteps, lesson.text, return_dict=False)[0]
        loss = recipe.losses.output * F.mse_loss(output, lesson.teacher_output)
        if recipe.losses.task:
            loss = loss + recipe.losses.task * F.mse_loss(output, lesson.target)
        value = float(loss.detach())
        if not np.isfinite(value):
            raise WorkError(f"the recovery loss must be finite, but is {value} at step {step}")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if progress is not None:
            progress(step, value)
    unet.eval().requires_grad_(False)
    return value


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return float(min((step + 1) / warm, 0.5 * (1 + np.cos(np.pi * step / max(1, steps)))))
