"""Removing blocks together, without any recovery: how far a tiny teacher's output changes.

The squared change is taken relative to the output's mean square: the mean over five noise levels of
24 test scenes, whose holes are those of the default protocol, or everything where the teacher has
no mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.labels import Protocol
from sdsearch.unet import UNPRUNED, Architecture, Bottom, Level
from sdsearch_eval.data import load_samples
from sdsearch_eval.sampling import images_to_tensor, prepare_inputs, unet_input

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from sdsearch_eval.models import Teacher

SCENES, TIMES = 24, (999, 800, 600, 400, 200)
BARE = Level(depth=1, down_attn=(False,), up_attn=(False, False))
NOTHING = Bottom(depth=None, mid=None)
REMOVED: dict[str, tuple[tuple[int, ...], bool]] = {
    "level 0": ((0,), False),
    "level 1": ((1,), False),
    "level 2": ((2,), False),
    "level 3, mid": ((), True),
    "level 2, 3, mid": ((2,), True),
    "level 1, 2, 3, mid": ((1, 2), True),
}


def remove(levels: tuple[int, ...], *, bottom: bool) -> Architecture:
    """The teacher without the optional blocks of some levels, and without the bottom."""
    kept = [BARE if i in levels else level for i, level in enumerate(UNPRUNED.levels)]
    first, second, third = kept
    return Architecture(
        levels=(first, second, third), bottom=NOTHING if bottom else UNPRUNED.bottom
    )


@torch.no_grad()
def measure_change(teacher: Teacher) -> Callable[[Architecture], float]:
    """The relative squared change of the output, as a function of what is left."""
    words = teacher.backbone.in_channels == 4
    protocol = Protocol(samples=SCENES, task="text-to-image" if words else "inpaint")
    samples = load_samples(protocol)
    inputs = prepare_inputs(teacher, samples, 0)
    clean = teacher.encode_images(images_to_tensor(np.stack([one.image for one in samples])))
    scheduler = teacher.scheduler()

    def call(arch: Architecture) -> list[Tensor]:
        unet, found = teacher.student(arch), []
        for time in TIMES:
            noisy = scheduler.add_noise(clean, inputs.noise, torch.full((SCENES,), time))
            given = unet_input(unet, noisy, inputs)
            found.append(unet(given, torch.tensor(time), inputs.text, return_dict=False)[0])
        return found

    whole = call(UNPRUNED)

    @torch.no_grad()
    def change(arch: Architecture) -> float:
        pairs = zip(call(arch), whole, strict=True)
        return float(
            np.mean([float((a - b).square().mean() / b.square().mean()) for a, b in pairs])
        )

    return change
