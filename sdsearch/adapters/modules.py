"""What a LoRA does to one module: two small matrices, whose product is added to the weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from sdsearch.unet import UNPRUNED
from sdsearch.weights import make_unet

if TYPE_CHECKING:
    from torch import Tensor

    from sdsearch.unet import Backbone

Style = Literal["kohya", "processor", "lora", "peft"]
"""How a file spells a module's tensors; `names` says each."""


@dataclass(frozen=True, slots=True)
class LoraModule:
    """`alpha / rank * up @ down` is added to a module's weight; without an alpha, `up @ down`.

    Attributes:
        down: (rank, inputs), or (rank, inputs, *kernel) of a convolution.
        up: (outputs, rank), or (outputs, rank, 1, 1).
        alpha: what the file says, or None.
        style: how the file spells the two.

    >>> import torch
    >>> LoraModule(torch.ones(2, 3), torch.ones(1, 2), 1.0, "peft").delta()
    tensor([[1., 1., 1.]])
    """

    down: Tensor
    up: Tensor
    alpha: float | None
    style: Style

    @property
    def rank(self) -> int:
        """Rows of `down`, and columns of `up`."""
        return len(self.down)

    @property
    def full_alpha(self) -> float:
        """The alpha, also where the file leaves it out: then it is the rank."""
        return float(self.rank) if self.alpha is None else self.alpha

    @property
    def scale(self) -> float:
        """What the product is multiplied with."""
        return self.full_alpha / self.rank

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The shape of the weight that this is added to."""
        return (len(self.up), *self.down.shape[1:])

    def delta(self) -> Tensor:
        """What is added to the weight, in its shape and in float32."""
        product = self.up.flatten(1).float() @ self.down.flatten(1).float()
        return (self.scale * product).view(self.weight_shape)


def weight_shapes(backbone: Backbone) -> dict[str, tuple[int, ...]]:
    """The weight's shape of every module of a teacher that a LoRA can change, by its path."""
    unet = make_unet(UNPRUNED, backbone, torch.device("meta"))
    return {
        name: tuple(module.weight.shape)
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }
