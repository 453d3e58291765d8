"""Tuning: how a teacher that paints from words learns to inpaint, before anything is pruned."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from sdsearch.labels.choices import MaskKind
from sdsearch.labels.recovery import LongRecovery, RecoveryLosses


class TeacherTuning(LongRecovery):
    """How a teacher that paints from words learns to inpaint: on noise alone, as it was trained.

    There is nobody to ask: what is learned is the noise of pictures seen with their holes. A share
    of holes is the whole picture, so that painting from words is not forgotten, and a share of
    captions is dropped for guidance. Defaults are for a tiny teacher; `study.recipes` has those of
    a full-size one.

    Attributes:
        seed: seed of all that is drawn; the label seed does not count, so labels of several seeds
            have one teacher.
    """

    later_fields: ClassVar = frozenset()

    steps: int = Field(2000, ge=1)
    learning_rate: float = Field(3e-4, gt=0)
    losses: RecoveryLosses = RecoveryLosses(output=0.0, task=1.0)
    masks: Literal["protocol"] | MaskKind = "mixed"
    caption_dropout: float = Field(0.1, ge=0, le=1)
    whole_holes: float = Field(0.25, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _asks_nobody(self) -> Self:
        if self.losses.ask_teacher:
            raise ValueError(
                "a teacher that learns to inpaint has nobody to ask, so that losses must be "
                "{ output = 0, task = 1 }; leave them out"
            )
        return self
