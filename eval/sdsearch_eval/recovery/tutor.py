"""The teacher of a long recovery, held once: makes lessons of pictures, and answers."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sdsearch.unet import UNPRUNED
from sdsearch_eval.devices import memory_format, place_tensors
from sdsearch_eval.recovery.distillation import (
    FeaturePairs,
    feature_error,
    in_precision,
    relative_error,
)
from sdsearch_eval.recovery.latents import encode_pictures
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import LongRecovery
    from sdsearch.unet import Architecture
    from sdsearch_eval.models import Teacher
    from sdsearch_eval.recovery.stream import Batch


@dataclass(frozen=True, slots=True)
class Answers:
    """What a student should say to its inputs: the teacher's output and features, the target.

    Where no loss asks the teacher, it says nothing.
    """

    output: Tensor | None
    features: list[Tensor]
    target: Tensor


class Tutor:
    """Teaches the student of one architecture; the teacher answers in the recipe's precision.

    Its UNet is loaded only where a loss asks it.
    """

    def __init__(
        self,
        arch: Architecture,
        teacher: Teacher,
        recipe: LongRecovery,
        dtype: str | None = None,
    ) -> None:
        self._arch, self._teacher, self._recipe = arch, teacher, recipe
        self._net = (
            cast_unet(teacher.student(UNPRUNED), dtype or recipe.teacher_dtype)
            if recipe.losses.ask_teacher
            else None
        )
        self._pairs = FeaturePairs(arch, teacher) if recipe.losses.feature else None
        self._scheduler = teacher.scheduler()

    @property
    def is_half(self) -> bool:
        """Whether answers come from a teacher in half precision, which may overflow."""
        return self._net is not None and bool(self._net.dtype != torch.float32)

    def in_float32(self) -> Tutor:
        """The same, beside this one, with the teacher in float32."""
        return Tutor(self._arch, self._teacher, self._recipe, "float32")

    def losses(
        self, model: torch.nn.Module, student: UNet2DConditionModel, batch: Batch
    ) -> dict[str, Tensor]:
        """The losses that have a weight, by name, each the mean over the pictures of a batch.

        `model` is the student, or what wraps it for several processes.
        """
        inputs, answers = self._teach(batch)
        device = inputs[0].device
        half = torch.autocast(
            device.type, torch.bfloat16, enabled=self._recipe.precision == "bfloat16"
        )
        pairs = self._pairs
        with pairs.student_taps(student) if pairs else nullcontext() as taps, half:
            output = model(*inputs, return_dict=False)[0]
        found: dict[str, Tensor] = {}
        if taps is not None:
            found["feature"] = feature_error(taps.outputs, answers.features)
        for name, wanted in (("output", answers.output), ("task", answers.target)):
            if wanted is not None and getattr(self._recipe.losses, name):
                found[name] = relative_error(output.float(), wanted)
        return found

    @torch.no_grad()
    def _teach(self, batch: Batch) -> tuple[tuple[Tensor, Tensor, Tensor], Answers]:
        """The inputs of the student, noised pictures with times and text, and the answers."""
        teacher, scheduler = self._teacher, self._scheduler
        device = teacher.device
        sees_masks = teacher.backbone.in_channels != batch.noise.shape[1]
        if "images" in batch.pictures:
            pictures = encode_pictures(teacher, **batch.pictures, is_masked=sees_masks)
        else:
            pictures = place_tensors(batch.pictures, device)
        count = scheduler.config.num_train_timesteps
        timesteps = (batch.times * count).long().to(device)
        clean, noise = pictures["clean"], batch.noise.to(device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        is_velocity = scheduler.config.prediction_type == "v_prediction"
        target = scheduler.get_velocity(clean, noise, timesteps) if is_velocity else noise
        if sees_masks:
            noisy = torch.cat([noisy, pictures["masks"], pictures["masked"]], dim=1)
        model_input = noisy.contiguous(memory_format=memory_format(device))
        inputs = model_input, timesteps, teacher.encode_text(batch.captions)
        return inputs, self._answer(inputs, target)

    def _answer(self, inputs: tuple[Tensor, Tensor, Tensor], target: Tensor) -> Answers:
        net, pairs = self._net, self._pairs
        if net is None:
            return Answers(None, [], target)
        with pairs.teacher_taps(net) if pairs else nullcontext() as taps:
            output = net(*in_precision(net, inputs), return_dict=False)[0].float()
        return Answers(output, pairs.inherited(taps.outputs) if pairs and taps else [], target)
