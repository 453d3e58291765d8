"""How far a long recovery is: weights, their mean, the optimizer, the step; and its file."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

import torch

from sdsearch.console import say
from sdsearch.files import DamagedFileError, check_sealed, make_folder, writing_sealed
from sdsearch_eval.recovery.step import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.labels import LongRecovery


@dataclass(slots=True)
class Progress:
    """A long recovery between two steps.

    Attributes:
        unet: the student as it is trained.
        optimizer: of its weights.
        average: the running mean of the weights, in the order of the net; [] without averaging.
        step: how many steps are done.
    """

    unet: UNet2DConditionModel
    optimizer: torch.optim.Optimizer
    average: list[Tensor]
    step: int = 0

    def finish_step(self, ema: float) -> None:
        """Count a step whose gradients are applied, and average its weights."""
        self.step += 1
        if self.average:
            decay = min(ema, (1 + self.step) / (10 + self.step))
            weights = [weight.detach() for weight in self.unet.parameters()]
            torch._foreach_lerp_(self.average, weights, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[UNet2DConditionModel]:
        """The student with its averaged weights; they change places, and none is copied."""
        self._exchange()
        self.unet.eval()
        try:
            yield self.unet
        finally:
            self.unet.train()
            self._exchange()

    def finish(self) -> UNet2DConditionModel:
        """The student with its averaged weights, for good; the optimizer and the last are gone."""
        self._exchange()
        self.average.clear()
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)
        return self.unet.eval().requires_grad_(False)

    def _exchange(self) -> None:
        if self.average:
            for number, weight in enumerate(self.unet.parameters()):
                weight.data, self.average[number] = self.average[number], weight.data

    def save(self, path: Path, of: str) -> None:
        """Write all of it, tensor by tensor; the file is the old one or the new one, never half.

        `of` says what is learned: nothing else goes on from this file.
        """
        make_folder(path.parent, path.parents[1])
        state = {
            "of": of,
            "step": self.step,
            "weights": self.unet.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with writing_sealed(path) as stream:
            torch.save(state, cast("IO[bytes]", stream))  # torch writes, and nothing else


def begin_recovery(
    unet: UNet2DConditionModel, recipe: LongRecovery, path: Path, of: str
) -> Progress:
    """The recovery that the file at `path` keeps; a new one where it is of another, or missing.

    A damaged file is said, and counts as missing.
    """
    unet.train().requires_grad_(True)
    state = _load(path, of, unet.device)
    if state is None:
        average = [weight.detach().clone() for weight in unet.parameters()] if recipe.ema else []
        return Progress(unet, make_optimizer(unet, recipe), average)
    # Tensors are taken over and not copied: memory never holds them twice.
    unet.load_state_dict(state["weights"], assign=True)
    unet.requires_grad_(True)
    optimizer = make_optimizer(unet, recipe)
    optimizer.load_state_dict(state["optimizer"])
    return Progress(unet, optimizer, state["average"], state["step"])


def _load(path: Path, of: str, device: torch.device) -> dict[str, Any] | None:
    try:
        check_sealed(path)
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        say(f"{error}, or is from before checkpoints had hashes; all steps are done again")
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state if state["of"] == of else None
