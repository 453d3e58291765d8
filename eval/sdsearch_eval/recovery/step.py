"""How a step of a recovery is cut so that it fits into memory, and its optimizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import torch

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel

    from sdsearch.labels import RecoveryRecipe
    from sdsearch.study import MachineConfig


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
                f'({error}); run: pip install "sdsearch[adamw8bit]", or choose "adamw"'
            ) from None
        eight_bit: torch.optim.Optimizer = AdamW8bit(unet.parameters(), **options)
        return eight_bit
    # One kernel for all weights: elsewhere temporaries as large as the net come on top.
    fused = True if unet.device.type == "cuda" else None
    return torch.optim.AdamW(unet.parameters(), **options, fused=fused)
