"""One step of a recovery, cut so that it fits into memory: the batch's losses and their gradients.

How a step is cut changes it by rounding alone: parts of a batch add up to its gradient, and what a
checkpointed net computes twice is the same both times.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn import functional as F

from sdsearch.errors import InputError
from sdsearch_eval.devices import memory_format, release_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import RecoveryRecipe
    from sdsearch.study import MachineConfig
    from sdsearch_eval.recovery.distillation import FeatureLoss


@dataclass(frozen=True, slots=True)
class Lesson:
    """One step's batch: UNet inputs, the teacher's output and the true training target."""

    model_input: Tensor
    timesteps: Tensor
    text: Tensor
    teacher_output: Tensor
    target: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)

    def parts(self, size: int) -> Iterator[Lesson]:
        """The batch in parts of at most `size`, in order."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Lesson(*(getattr(self, field.name)[part] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Cut:
    """How a step is cut: whether activations are computed twice, and how many images at once.

    What `may_checkpoint` and `may_halve` allow is tried where memory runs out.
    """

    checkpointing: bool
    micro_batch: int
    may_checkpoint: bool = False
    may_halve: bool = False

    @classmethod
    def of(cls, machine: MachineConfig, batch_size: int) -> Self:
        """The cut that a study asks for; "auto" begins with the whole batch."""
        checkpointing, micro_batch = machine.gradient_checkpointing, machine.micro_batch
        return cls(
            checkpointing is True,
            batch_size if micro_batch == "auto" else min(micro_batch, batch_size),
            checkpointing == "auto",
            micro_batch == "auto",
        )

    def smaller(self) -> Cut | None:
        """The next cut that needs less memory; None if there is none."""
        if self.may_checkpoint and not self.checkpointing:
            return replace(self, checkpointing=True)
        if self.may_halve and self.micro_batch > 1:
            return replace(self, micro_batch=(self.micro_batch + 1) // 2)
        return None


def make_optimizer(unet: UNet2DConditionModel, recipe: RecoveryRecipe) -> torch.optim.Optimizer:
    """AdamW over all weights, with moments in float32 or in 8 bits.

    Raises:
        InputError: the package of 8-bit moments is missing, or has nothing for this device.
    """
    options: dict[str, Any] = {
        "lr": recipe.learning_rate,
        "betas": (0.9, 0.99),
        "weight_decay": 0.0,
    }
    if recipe.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except (ImportError, RuntimeError) as error:
            raise InputError(
                'optimizer = "adamw8bit" needs the package bitsandbytes, which cannot be loaded '
                f'({error}); run: pip install bitsandbytes, or choose "adamw"'
            ) from None
        eight_bit: torch.optim.Optimizer = AdamW8bit(unet.parameters(), **options)
        return eight_bit
    # One kernel for all weights: elsewhere temporaries as large as the net come on top.
    fused = True if unet.device.type == "cuda" else None
    return torch.optim.AdamW(unet.parameters(), **options, fused=fused)


def learn_lesson(
    unet: UNet2DConditionModel,
    lesson: Lesson,
    recipe: RecoveryRecipe,
    features: FeatureLoss | None,
    cut: Cut,
) -> tuple[dict[str, Tensor], Cut]:
    """Add the gradients of a lesson's weighted losses to the weights of `unet`.

    Gradients are empty before. The losses come back by name, `loss` first, detached and still on
    the device, with the cut that fitted.

    Raises:
        torch.OutOfMemoryError: the smallest allowed cut does not fit either.
    """
    while True:
        try:
            return _learn_parts(unet, lesson, recipe, features, cut), cut
        except torch.OutOfMemoryError:
            following = cut.smaller()
            if following is None:
                raise
        # Outside of the handler, whose traceback keeps the tensors of the failed try alive.
        cut = following
        unet.zero_grad(set_to_none=True)
        release_memory(unet.device)


def _learn_parts(
    unet: UNet2DConditionModel,
    lesson: Lesson,
    recipe: RecoveryRecipe,
    features: FeatureLoss | None,
    cut: Cut,
) -> dict[str, Tensor]:
    if cut.checkpointing != unet.is_gradient_checkpointing:
        (
            unet.enable_gradient_checkpointing
            if cut.checkpointing
            else unet.disable_gradient_checkpointing
        )()
    sums: dict[str, Tensor] = {}
    for part in lesson.parts(cut.micro_batch):
        losses = recovery_losses(unet, part, recipe, features, lesson)
        weighted = [getattr(recipe.losses, name) * x for name, x in losses.items()]
        loss = torch.stack(weighted).sum()
        share = len(part) / len(lesson)
        (loss if share == 1 else loss * share).backward()
        for name, x in {"loss": loss, **losses}.items():
            sums[name] = x.detach() * share + sums.get(name, 0.0)
    return sums


def recovery_losses(
    model: torch.nn.Module,
    lesson: Lesson,
    recipe: RecoveryRecipe,
    features: FeatureLoss | None,
    whole: Lesson | None = None,
) -> dict[str, Tensor]:
    """The losses that have a weight, by name, in float32.

    Each is relative to the targets of the `whole` batch that the lesson is a part of, by default
    itself: the losses of equal parts then average to that of the batch.
    """
    device = lesson.model_input.device
    model_input = lesson.model_input.contiguous(memory_format=memory_format(device))
    inputs = (model_input, lesson.timesteps, lesson.text)
    found: dict[str, Tensor] = {}
    half = torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    with features.taps() if features is not None else nullcontext() as taps, half:
        output = model(*inputs, return_dict=False)[0].float()
    if features is not None and taps is not None:
        found["feature"] = features(taps.outputs, *inputs)
    for name, targets in (("output", "teacher_output"), ("task", "target")):
        if getattr(recipe.losses, name):
            scale = getattr(whole or lesson, targets).square().mean()
            found[name] = F.mse_loss(output, getattr(lesson, targets)) / scale
    return found
