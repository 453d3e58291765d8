"""A probe: what the unpruned net's answers lose with each removal, and where its time goes.

No label and no training: noised recovery samples at a few timesteps, answered once by the whole
net and once without each removal, its weights inherited. One net is in memory at a time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.design import Removal
from sdsearch.errors import WorkError
from sdsearch.space import list_losses, list_removals, with_option
from sdsearch.unet import SLOTS, UNPRUNED, student_path
from sdsearch.weights import make_unet
from sdsearch_eval.devices import release_memory, synchronize
from sdsearch_eval.sampling.sampling import (
    cast_unet,
    images_to_tensor,
    prepare_inputs,
    unet_input,
)
from sdsearch_eval.seeds import derive_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.space import SearchSpace
    from sdsearch.unet import Architecture
    from sdsearch_eval.cache import TensorCache
    from sdsearch_eval.data import Sample
    from sdsearch_eval.models import Teacher

WARM_UP, RUNS = 2, 5
SLOT_CALLS = WARM_UP + RUNS
"""Calls in which slots are timed."""
LARGEST_SNR = 5.0
"""Where the weight of a timestep stops growing: the gamma of Min-SNR (Hang et al., ICCV 2023)."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a UNet is asked: noisy inputs (n, c, h, w), their timesteps (n,), and their words."""

    model_input: Tensor
    timesteps: Tensor
    text: Tensor

    def parts(self, most: int) -> Iterator[Question]:
        """The same in as few equal parts as have at most so many inputs each, the last smaller."""
        count = -(-len(self.text) // most)
        given = (each.chunk(count) for each in (self.model_input, self.timesteps, self.text))
        for model_input, timesteps, text in zip(*given, strict=True):
            yield Question(model_input, timesteps, text)


def pose_question(
    teacher: Teacher, samples: Sequence[Sample], timesteps: Sequence[int], seed: int
) -> Question:
    """All samples at every timestep, each noised to it under noise of its own.

    Timestep by timestep: the first `len(samples)` inputs are those of `timesteps[0]`.
    """
    inputs = prepare_inputs(teacher, samples, seed)
    images = images_to_tensor(np.stack([sample.image for sample in samples]))
    clean, scheduler = teacher.encode_images(images), teacher.scheduler()
    shapes = make_unet(UNPRUNED, teacher.backbone, torch.device("meta"))
    asked, model_input = torch.tensor(timesteps, device=clean.device), []
    for timestep, at in zip(timesteps, asked, strict=True):
        source = torch.Generator().manual_seed(derive_seed(seed, f"timestep-{timestep}", "probe"))
        noise = torch.randn(clean.shape, generator=source).to(clean.device)
        noisy = scheduler.add_noise(clean, noise, at.expand(len(clean)))
        model_input.append(unet_input(shapes, noisy, inputs))
    text = inputs.text.repeat(len(timesteps), 1, 1)
    return Question(torch.cat(model_input), asked.repeat_interleave(len(clean)), text)


def spread_timesteps(teacher: Teacher, count: int) -> tuple[int, ...]:
    """The middles of `count` equal parts of the training timesteps, cleanest first."""
    steps = teacher.scheduler().config.num_train_timesteps
    return tuple(int((number + 0.5) * steps / count) for number in range(count))


def weigh_timesteps(teacher: Teacher, timesteps: Sequence[int]) -> tuple[float, ...]:
    """How much each timestep counts: its signal-to-noise ratio, at most `LARGEST_SNR`, as a share.

    Measured on tiny teachers: where the inner levels are alive, errors at clean timesteps order
    architectures far better than those at noisy ones; where they are dead, it hardly matters
    (docs/probe.md).
    """
    kept = teacher.scheduler().alphas_cumprod[list(timesteps)].double()
    weights = (kept / (1 - kept)).clamp(max=LARGEST_SNR)
    return tuple((weights / weights.sum()).tolist())


def probe_removals(
    teacher: Teacher,
    space: SearchSpace,
    question: Question,
    weights: Sequence[float],
    dtype: str,
    cache: TensorCache,
    at_once: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Removal]:
    """The errors of all removals that `list_removals` names, at the question's timesteps.

    `weights` are the timesteps', for the standard error of their mean. A call of a net answers at
    most `at_once` inputs, and halves of them where they do not fit.

    What is measured is kept in `cache`, so that a killed probe goes on. An answer that is not
    finite in half precision is asked for once more in float32.

    Raises:
        WorkError: an answer is not finite in float32 either, or those of the whole net are 0.
        torch.OutOfMemoryError: a single input does not fit.
    """
    removals = list_removals(space)
    parts = list(question.parts(at_once))
    whole = _answer_all(teacher, UNPRUNED, parts, dtype)
    by_timestep = len(weights), -1
    power = whole.square().mean((1, 2, 3)).view(by_timestep).mean(1, keepdim=True)
    if not (power > 0).all():
        raise WorkError(
            "the unpruned net must answer something, but its answers are all 0; is its last layer "
            "trained?"
        )
    total, found = sum(len(numbers) for numbers in removals), list[Removal]()
    for axis, numbers in enumerate(removals):
        unit, losses = space.units[axis], list_losses(space, axis)
        for number in numbers:
            arch = with_option(space, axis, number)

            def measure(arch: Architecture = arch) -> dict[str, Tensor]:
                changes = (
                    (_answer_all(teacher, arch, parts, dtype) - whole).square().mean((1, 2, 3))
                )
                return {"errors": changes.view(by_timestep) / power}  # (timesteps, samples)

            errors = cache.get(f"removal-{arch.key}", measure)["errors"].double().numpy()
            of_samples = np.asarray(weights) @ errors  # (samples,)
            spread = of_samples.std(ddof=1) if len(of_samples) > 1 else 0.0
            found.append(
                Removal(
                    unit=unit.name,
                    option=number,
                    words=str(unit.options[number]),
                    lost=tuple(slot.name for slot in SLOTS if slot.name in losses[number]),
                    errors=tuple(errors.mean(1).tolist()),
                    se=float(spread / np.sqrt(len(of_samples))),
                )
            )
            progress(len(found), total)
    return found


def _answer_all(
    teacher: Teacher, arch: Architecture, parts: Sequence[Question], dtype: str
) -> Tensor:
    """The answers of a member with inherited weights to all parts, in float32: (n, c, h, w)."""
    unet = cast_unet(teacher.student(arch), dtype)
    answers = torch.cat([_answer(unet, part) for part in parts])
    if dtype != "float32" and not torch.isfinite(answers).all():
        unet = teacher.student(arch)
        answers = torch.cat([_answer(unet, part) for part in parts])
    if not torch.isfinite(answers).all():
        raise WorkError(f"the answers of {arch.key} must be finite, but hold NaN or infinity")
    return answers


@torch.no_grad()
def _answer(unet: UNet2DConditionModel, question: Question) -> Tensor:
    """An answer, of halves of the inputs where all of them do not fit into memory."""
    try:
        model_input, text = question.model_input.to(unet.dtype), question.text.to(unet.dtype)
        output: Tensor = unet(model_input, question.timesteps, text, return_dict=False)[0]
        return output.float()
    except torch.OutOfMemoryError:
        if len(question.text) == 1:
            raise
    # Outside of the handler, whose traceback keeps the tensors of the failed try alive.
    release_memory(question.text.device)
    halves = question.parts((len(question.text) + 1) // 2)
    return torch.cat([_answer(unet, half) for half in halves])


@torch.no_grad()
def time_slots(unet: UNet2DConditionModel, question: Question) -> dict[str, float]:
    """Median milliseconds of each slot in a call of the unpruned net on the first input.

    The device is waited for at every slot, so that the whole call takes longer than without.
    """
    first, device = next(question.parts(1)), question.text.device
    begun: dict[str, float] = {}
    taken: dict[str, list[float]] = {slot.name: [] for slot in SLOTS}

    def begin(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            synchronize(device)
            begun[name] = time.perf_counter()

        return hook

    def end(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            synchronize(device)
            taken[name].append(1e3 * (time.perf_counter() - begun[name]))

        return hook

    hooks = []
    for slot in SLOTS:
        module = unet.get_submodule(student_path(slot, UNPRUNED))
        hooks += [
            module.register_forward_pre_hook(begin(slot.name)),
            module.register_forward_hook(end(slot.name)),
        ]
    try:
        for _ in range(SLOT_CALLS):
            _answer(unet, first)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: median(times[WARM_UP:]) for name, times in taken.items()}
