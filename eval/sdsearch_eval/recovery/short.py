"""Recovery: a short seeded fine-tune of an inherited student towards its teacher's outputs.

The batches depend on the seed and the step alone, and the teacher's answers to them are computed
once per study, so that every architecture sees the same lesson and pays only for itself.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from sdsearch.errors import WorkError
from sdsearch.unet import UNPRUNED
from sdsearch_eval.data import load_recovery_samples
from sdsearch_eval.recovery.distillation import FeatureLoss
from sdsearch_eval.sampling import UNetInputs, images_to_tensor, prepare_inputs, unet_input
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
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


@dataclass(frozen=True, slots=True)
class Lesson:
    """One step's batch: UNet inputs, the teacher's output and the true training target."""

    model_input: Tensor
    timesteps: Tensor
    text: Tensor
    teacher_output: Tensor
    target: Tensor


class Lessons:
    """The batches of a protocol's recovery under one seed, each made once and cached.

    They draw from 16 batches' worth of images.
    """

    def __init__(self, teacher: Teacher, protocol: Protocol, seed: int, cache: TensorCache) -> None:
        self.teacher, self._protocol, self._seed, self._cache = teacher, protocol, seed, cache
        self._unpruned: UNet2DConditionModel | None = None

    def __getitem__(self, step: int) -> Lesson:
        """The lesson of a step, counted from 0."""
        return Lesson(**self._cache.get(self._name(step), lambda: self._make(step)))

    def fill(self, steps: int) -> None:
        """Make those of the first `steps` lessons that nobody has made yet."""
        for step in range(steps):
            if not self._cache.holds(self._name(step)):
                self[step]
        self._unpruned = None  # students need the memory

    def _name(self, step: int) -> str:
        return f"lesson-s{self._seed}-{step:05d}"

    def _pool(self) -> dict[str, Tensor]:
        samples = load_recovery_samples(self._protocol, pool_size(self._protocol))
        inputs = prepare_inputs(self.teacher, samples, self._seed)
        images = images_to_tensor(np.stack([sample.image for sample in samples]))
        clean = torch.cat([self.teacher.encode_images(part) for part in images.split(32)])
        return {
            "clean": clean,
            **{field.name: getattr(inputs, field.name) for field in fields(inputs)},
        }

    @torch.no_grad()
    def _make(self, step: int) -> dict[str, Tensor]:
        pool = self._cache.get(f"lesson-pool-s{self._seed}", self._pool)
        rng = np.random.default_rng(derive_seed(self._seed, f"step-{step}", "recovery"))
        size = self._protocol.recovery.batch_size
        count = len(pool["clean"])
        index = torch.from_numpy(rng.choice(count, size=size, replace=count < size))
        scheduler = self.teacher.scheduler()
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
        inputs = UNetInputs(**{field.name: pool[field.name][index] for field in fields(UNetInputs)})
        if self._unpruned is None:
            self._unpruned = self.teacher.student(UNPRUNED)
        model_input = unet_input(self._unpruned, noisy, inputs)
        output = self._unpruned(model_input, timesteps, inputs.text, return_dict=False)[0]
        velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, timesteps) if velocity else noise
        return {
            "model_input": model_input,
            "timesteps": timesteps,
            "text": inputs.text,
            "teacher_output": output,
            "target": target,
        }


def recover_student(
    unet: UNet2DConditionModel, arch: Architecture, lessons: Lessons, recipe: RecoveryRecipe
) -> list[dict[str, float]]:
    """Fine-tune the student of `arch` in place; return the losses of every step by name.

    AdamW: linear warm-up over a tenth of the steps, then cosine decay; gradients clipped to 1.
    Every loss with a weight is told by itself, relative to its target, and `loss` is their weighted
    sum.

    Raises:
        WorkError: the loss is not finite.
    """
    unet.train().requires_grad_(True)
    optimizer = torch.optim.AdamW(
        unet.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_share(step, recipe.steps)
    )
    features = FeatureLoss(arch, lessons.teacher, unet) if recipe.losses.feature else None
    log = []
    for step in range(recipe.steps):
        losses = recovery_losses(unet, lessons[step], recipe, features)
        loss = torch.stack([getattr(recipe.losses, name) * x for name, x in losses.items()]).sum()
        row = {"loss": float(loss.detach()), **{n: float(x.detach()) for n, x in losses.items()}}
        if not np.isfinite(row["loss"]):
            raise WorkError(
                f"the recovery loss must be finite, but is {row['loss']} at step {step}"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        log.append(row)
    unet.eval().requires_grad_(False)
    return log


def recovery_losses(
    model: torch.nn.Module,
    lesson: Lesson,
    recipe: RecoveryRecipe,
    features: FeatureLoss | None,
) -> dict[str, Tensor]:
    """The losses that have a weight, by name, in float32, relative to their targets."""
    model_input = lesson.model_input.contiguous(memory_format=torch.channels_last)
    inputs = (model_input, lesson.timesteps, lesson.text)
    found: dict[str, Tensor] = {}
    with features.taps() if features is not None else nullcontext() as taps:
        output = model(*inputs, return_dict=False)[0].float()
    if features is not None and taps is not None:
        found["feature"] = features(taps.outputs, *inputs)
    for name, targets in (("output", "teacher_output"), ("task", "target")):
        if getattr(recipe.losses, name):
            scale = getattr(lesson, targets).square().mean()
            found[name] = F.mse_loss(output, getattr(lesson, targets)) / scale
    return found


def learning_rate_share(step: int, steps: int) -> float:
    """Linear warm-up over a tenth of the steps, then cosine decay: a share of the peak."""
    warm = max(1, steps // 10)
    return float(min((step + 1) / warm, 0.5 * (1 + np.cos(np.pi * step / max(1, steps)))))
