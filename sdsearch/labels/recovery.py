"""Recipes: how a pruned student recovers, shortly for a label or long for an export; tuning.

A teacher that paints from words learns to inpaint by a recipe of the same kind.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sdsearch.labels.choices import MaskKind, Optimizer, Precision, Tracker
from sdsearch.labels.label import Measurement
from sdsearch.model import FrozenModel, KeyedModel, SealedModel


class RecoveryLosses(FrozenModel):
    """Weights of the losses; each loss is relative to the mean square of its target.

    Attributes:
        output: weight of the difference to what the teacher predicts.
        task: weight of the difference to the noise that was added.
        feature: weight of the difference to the teacher's features, level by level.
    """

    output: float = Field(1.0, ge=0)
    task: float = Field(0.0, ge=0)
    feature: float = Field(0.0, ge=0)

    @property
    def ask_teacher(self) -> bool:
        """Whether a teacher has to answer; the noise is known without one."""
        return bool(self.output or self.feature)

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if not (self.output or self.task or self.feature):
            raise ValueError("one of the losses must have a weight above 0, but all are 0")
        return self


class RecoveryRecipe(KeyedModel):
    """The short seeded fine-tune that an inherited student gets before it is measured.

    Attributes:
        steps: how many steps are trained.
        learning_rate: the optimizer's; at its highest, where `warmup` and `decay` change it.
        batch_size: pictures a step.
        losses: what is learned, by the weights of its losses.
        precision: what the student computes in; its weights, and the optimizer's, stay in float32
            (bfloat16 is torch's autocast).
        teacher_dtype: precision of the teacher whose answers are learned.
        optimizer: "adamw", or "adamw8bit" of bitsandbytes, whose two moments take a quarter.
    """

    later_fields: ClassVar = frozenset({"precision", "teacher_dtype", "optimizer"})

    steps: int = Field(30, ge=0)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    losses: RecoveryLosses = RecoveryLosses()
    precision: Literal["float32", "bfloat16"] = "float32"
    teacher_dtype: Precision = "float32"
    optimizer: Optimizer = "adamw"


class LongRecovery(RecoveryRecipe):
    """The recovery of a design that will be exported, on all photos that are not evaluated on.

    A photo is seen in another way each epoch: cropped along its longer side and mirrored at random,
    under a new mask. Defaults are those of the tiny benchmark; `BK_SDM` is a published recipe.

    Attributes:
        ema: how much of the running mean of the weights a step keeps; 0: the last weights count.
        warmup: the share of the steps in which the learning rate rises.
        decay: whether it falls to 0 along a cosine after that, or stays.
        masks: the kind that is drawn; "protocol": that of the protocol, or its files, cropped
            centrally with their photos.
        crop: where a photo is cropped.
        flip: whether half of the photos are mirrored.
        caption_dropout: the share of pictures that are learned without their caption.
        whole_holes: the share of pictures whose mask is all of them, whatever is drawn.
        cache_latents: how many ways of seeing each photo are encoded beforehand, into one file, and
            taken in turn; 0: another one each epoch, encoded when it is learned.
        checkpoint_every: steps from one checkpoint to the next.
        picture_every: steps from one picture to the next.
        tracker: what else is told of the losses.
    """

    later_fields: ClassVar = RecoveryRecipe.later_fields | {"whole_holes"}

    steps: int = Field(1000, ge=1)
    learning_rate: float = Field(2e-4, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)
    warmup: float = Field(0.1, ge=0, le=1)
    decay: Literal["cosine", "constant"] = "cosine"
    masks: Literal["protocol"] | MaskKind = "protocol"
    crop: Literal["random", "center"] = "random"
    flip: bool = True
    caption_dropout: float = Field(0.0, ge=0, le=1)
    whole_holes: float = Field(0.0, ge=0, le=1)
    cache_latents: int = Field(0, ge=0)
    checkpoint_every: int = Field(200, ge=1)
    picture_every: int = Field(250, ge=1)
    tracker: Tracker = "none"

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that may change the weights, as JSON data; others may change in a run."""
        watching = {"checkpoint_every", "picture_every", "tracker"}
        return self.model_dump(mode="json", exclude=watching)


class RecoveryValues(SealedModel):
    """`values.json`: what was measured before and after a long recovery, empty until it is.

    `of` names all that decides what was learned; empty where nothing says.
    """

    of: str = ""
    before: dict[str, Measurement] = Field(default_factory=dict)
    after: dict[str, Measurement] = Field(default_factory=dict)


BK_SDM = LongRecovery(
    steps=50_000,
    learning_rate=5e-5,
    batch_size=256,
    losses=RecoveryLosses(output=1.0, task=1.0, feature=1.0),
    warmup=0.0,
    decay="constant",
    ema=0.9999,
    checkpoint_every=500,
    picture_every=500,
)
"""BK-SDM's recipe for SD v1.4 (Kim et al., ECCV 2024), which was 60 epochs of 212,776 pictures."""


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
