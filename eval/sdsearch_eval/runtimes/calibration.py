"""Calibration: what UNets are asked where ranges of activations are taken, one sample at a time.

The samples are those that a recovery learns from, none of which is evaluated on, noised to
timesteps from all of the schedule. Where the protocol is guided, every other one has no words.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch_eval.bench import Bench

CALIBRATION_SAMPLES = 64
ASKED_SAMPLES = 16
"""Of another lesson: those that parts of a UNet are compared on."""


class Questions(NamedTuple):
    """What is asked: sample (n, c, h, w), timesteps (n,), text (n, tokens, width), on the host."""

    sample: Tensor
    timestep: Tensor
    encoder_hidden_states: Tensor

    def each(self) -> list[Questions]:
        """The samples one by one, each still a batch."""
        return [Questions(*(one[i : i + 1] for one in self)) for i in range(len(self.sample))]


def pose_questions(bench: Bench) -> tuple[Questions, Questions]:
    """Questions to take ranges on, and others to ask afterwards."""
    size = bench.protocol.recovery.batch_size
    lessons = ceil(CALIBRATION_SAMPLES / size)
    calibrating = [_read_lesson(bench, step) for step in range(lessons)]
    asked = [_read_lesson(bench, lessons + step) for step in range(ceil(ASKED_SAMPLES / size))]
    return _join(calibrating, CALIBRATION_SAMPLES), _join(asked, ASKED_SAMPLES)


def _read_lesson(bench: Bench, step: int) -> Questions:
    lesson = bench.lessons[step]
    text = lesson.text.clone()
    if bench.protocol.guidance > 1:
        text[1::2] = bench.inputs.empty_text[:1].to(text)
    given = lesson.model_input, lesson.timesteps, text
    return Questions(*(one.cpu().contiguous() for one in given))


def _join(parts: list[Questions], most: int) -> Questions:
    return Questions(*(torch.cat(rows)[:most] for rows in zip(*parts, strict=True)))
