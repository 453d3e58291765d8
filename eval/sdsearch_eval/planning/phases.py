"""Phases: what is in a device's memory in each part of a stage, counted as the stage is coded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from sdsearch.unet import TEXT_TOKENS, UNPRUNED, count_params
from sdsearch_eval.counting import (
    Counted,
    Training,
    count_call,
    count_decode,
    count_encode,
    count_text,
    count_training,
    weigh_optimizer,
)
from sdsearch_eval.devices import quick_dtype
from sdsearch_eval.models import CAPTIONS_AT_ONCE

if TYPE_CHECKING:
    from sdsearch.labels import LongRecovery, Protocol, RecoveryRecipe
    from sdsearch.study import MachineConfig
    from sdsearch.unet import Architecture
    from sdsearch_eval.counting import Parts
    from sdsearch_eval.recovery import Cut

ENCODED = 32
"""Images that are encoded at once."""
_LIBRARIES = 96 * 2**20
"""What cuBLAS and cuDNN keep for themselves in half precision or TF32: the difference between what
was measured on an H100 and what is counted, of calls of 16 images and steps of 8."""


@dataclass(frozen=True)
class Work:
    """What a study has to do, as far as memory is concerned.

    `device` is a kind of device, such as "cuda"; `extractor` what the features' net needs.
    """

    parts: Parts
    extractor: Counted
    protocol: Protocol
    long: LongRecovery
    machine: MachineConfig
    device: str

    @property
    def latent(self) -> int:
        """Side of a latent, in its pixels."""
        return self.protocol.resolution // self.parts.latent_factor

    @cached_property
    def always(self) -> dict[str, int]:
        """What stays in memory whatever is done: libraries, feature net, inputs of all samples."""
        backbone, cells = self.parts.backbone, self.latent**2
        text = TEXT_TOKENS * backbone.cross_attention_dim
        known = 0 if self.protocol.paints_words else 4 + 1  # all rows are one then
        inputs = 4 * self.protocol.samples * ((4 + 4 + known) * cells + text)
        libraries = {"libraries": _LIBRARIES} if self.device != "cpu" else {}
        return {**libraries, "feature net": self.extractor.kept["weights"], "inputs": inputs}

    @property
    def calls(self) -> int:
        """UNet evaluations of a step for each sample: both halves of guidance."""
        return 2 if self.protocol.guidance > 1 else 1


def prepare_phases(work: Work, block: int) -> dict[str, Counted]:
    """What all labels share, with at most `block` samples, or images, worked on at once."""
    parts, protocol, recipe = work.parts, work.protocol, work.protocol.recovery
    kept = {**work.always, **parts.weights}
    images = min(ENCODED, block, protocol.samples)
    captions = min(CAPTIONS_AT_ONCE, protocol.samples)
    answers = min(block, recipe.batch_size) if block < ENCODED else recipe.batch_size
    return {
        "images to latents": Counted(
            kept, count_encode(parts, images, protocol.resolution, work.device).passing
        ),
        "captions": Counted(kept, count_text(parts, captions, work.device).passing),
        "features": Counted(kept, work.extractor.passing),
        **paint_phases(UNPRUNED, work, block, "teacher"),
        "the teacher's answers": _answer(work, recipe, answers).beside(kept),
    }


def probe_phases(work: Work, images: int) -> dict[str, Counted]:
    """A probe: pictures and captions once, then a net at a time, asked about `images` at once."""
    parts, protocol = work.parts, work.protocol
    dtype = quick_dtype(torch.device(work.device), protocol.dtype)
    call = count_call(UNPRUNED, parts.backbone, images, work.latent, dtype, work.device)
    kept = {**work.always, "net": call.kept["weights"]}
    casting = 4 * count_params(UNPRUNED, parts.backbone) - call.kept["weights"]
    encoding = count_encode(parts, min(ENCODED, images), protocol.resolution, work.device)
    return {
        "images to latents": Counted({**work.always, **parts.weights}, encoding.passing),
        "answers": Counted(kept, max(call.passing, casting)),
    }


def learn_phases(arch: Architecture, work: Work, cut: Cut) -> dict[str, Counted]:
    """The recovery of a label, with a step cut so; nothing where the label has none."""
    recipe = work.protocol.recovery
    if arch == UNPRUNED or not recipe.steps:
        return {}
    kept = dict(work.always)
    if work.machine.teacher == "device":
        kept |= work.parts.weights
    if recipe.losses.feature:
        kept |= weigh_teacher(work, recipe)
    return {"recovery": _learn(arch, work, recipe, cut).beside(kept)}


def paint_phases(
    arch: Architecture, work: Work, block: int, net: str = "student"
) -> dict[str, Counted]:
    """Sampling and decoding of `block` samples at once, by a net that comes in float32."""
    protocol, parts = work.protocol, work.parts
    images = min(block, protocol.samples)
    call = count_call(
        arch, parts.backbone, work.calls * images, work.latent, protocol.dtype, work.device
    )
    kept = {**work.always, **parts.weights, net: call.kept["weights"]}
    casting = 4 * count_params(arch, parts.backbone) - call.kept["weights"]
    decoding = count_decode(parts, images, protocol.resolution, work.device)
    return {
        "sampling": Counted(kept, max(call.passing, casting)),
        "latents to images": Counted(kept, decoding.passing),
    }


def recover_phases(arch: Architecture, work: Work, cut: Cut) -> dict[str, Counted]:
    """A long recovery: a student whose weights are averaged, and the teacher if it is asked."""
    recipe, weights = work.long, 4 * count_params(arch, work.parts.backbone)
    kept = {**work.always, **work.parts.weights}
    if recipe.losses.ask_teacher:
        kept |= weigh_teacher(work, recipe)
    if recipe.ema:
        kept["average"] = weights
    step = _learn(arch, work, recipe, cut)
    images = min(cut.micro_batch, recipe.batch_size)
    # Between two parts of a batch the gradients of the first are there.
    between = {**kept, **step.kept, "gradients": weights if images < recipe.batch_size else 0}
    encoding = count_encode(work.parts, images, work.protocol.resolution, work.device)
    found = {
        "recovery": step.beside(kept),
        "images to latents": Counted(between, encoding.passing),
    }
    if recipe.losses.ask_teacher:
        asking = _answer(work, recipe, images).passing
        found["the teacher's answers"] = Counted(between, asking)
    return found


def weigh_teacher(work: Work, recipe: RecoveryRecipe) -> dict[str, int]:
    """Bytes of the teacher's UNet as it answers a recovery."""
    size = getattr(torch, recipe.teacher_dtype).itemsize
    return {"teacher": size * count_params(UNPRUNED, work.parts.backbone)}


def _learn(arch: Architecture, work: Work, recipe: RecoveryRecipe, cut: Cut) -> Counted:
    """A step of a recovery beside what its optimizer keeps."""
    backbone, images = work.parts.backbone, min(cut.micro_batch, recipe.batch_size)
    how = Training(
        images,
        work.latent,
        recipe.precision,
        cut.checkpointing,
        accumulates=images < recipe.batch_size,
        teacher=recipe.teacher_dtype if recipe.losses.feature else None,
        device=work.device,
    )
    step = count_training(arch, backbone, how)
    moments = weigh_optimizer(arch, backbone, recipe.optimizer)
    return Counted({"student": step.kept["weights"], "moments": moments}, step.passing)


def _answer(work: Work, recipe: RecoveryRecipe, images: int) -> Counted:
    """The teacher asked for its output on a batch."""
    backbone, dtype = work.parts.backbone, recipe.teacher_dtype
    call = count_call(UNPRUNED, backbone, images, work.latent, dtype, work.device)
    return Counted(weigh_teacher(work, recipe), call.passing)
