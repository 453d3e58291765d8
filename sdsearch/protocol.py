"""Protocol: everything that may change the value of a label, and the key that names it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from sdsearch.content import content_key

_FROZEN = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RecoveryLosses(BaseModel):
    """Weights of the losses: output distillation, noise (task) loss, feature distillation."""

    model_config = _FROZEN

    output: float = Field(1.0, ge=0)
    task: float = Field(0.0, ge=0)
    feature: float = Field(0.0, ge=0)


class RecoveryRecipe(BaseModel):
    """The short seeded fine-tune that an inherited student gets before it is measured."""

    model_config = _FROZEN

    steps: int = Field(30, ge=0)
    learning_rate: float = Field(5e-4, gt=0)
    batch_size: int = Field(16, ge=1)
    losses: RecoveryLosses = RecoveryLosses()


class Protocol(BaseModel):
    """How a label is measured; two labels are comparable only where their protocol keys agree.

    The label seed is not part of it: a label is unique by (architecture, protocol, seed).
    Defaults are those of the tiny benchmark. `revision` is the harness's own: it is raised whenever
    a renderer, mask, sampling rule or metric changes a value.
    """

    model_config = _FROZEN

    revision: Literal[1] = 1
    dataset: str = "scenes"
    masks: str = "mixed"
    resolution: int = Field(64, ge=8, multiple_of=8)
    samples: int = Field(256, ge=2)
    block_size: int = Field(32, ge=1)
    scheduler: Literal["ddim"] = "ddim"
    steps: int = Field(8, ge=1)
    guidance: float = Field(1.0, ge=0)
    strength: float = Field(1.0, ge=1, le=1)
    dtype: Literal["float32"] = "float32"
    extractor: str = "efflite0"
    feature_size: int = Field(128, ge=32)
    threads: int = Field(2, ge=1)
    recovery: RecoveryRecipe = RecoveryRecipe()

    @property
    def key(self) -> str:
        """Content key (12 hex digits) of all fields."""
        return content_key(self.model_dump(mode="json"))
