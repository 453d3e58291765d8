"""Distillation losses: output, task and features, each relative to the size of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch.nn import functional as F

from sdsearch.unet import UNPRUNED
from sdsearch.weights import choose_channels, pair_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.unet import Architecture
    from sdsearch_eval.models import Teacher


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error over the mean square of what is wanted: 1 for an answer of zeros."""
    return F.mse_loss(found, wanted) / wanted.square().mean()


class Taps:
    """Outputs of some modules of a net, caught while the block runs.

    The hooks are on the module objects, so that a wrapper around the net (as for several processes)
    changes nothing.
    """

    def __init__(self, net: UNet2DConditionModel, paths: Sequence[str]) -> None:
        self.outputs: list[Tensor] = []
        self._modules = [net.get_submodule(path) for path in paths]
        self._hooks: list[Any] = []

    def __enter__(self) -> Self:
        self._hooks = [module.register_forward_hook(self._catch) for module in self._modules]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _catch(self, _module: torch.nn.Module, _inputs: Any, output: Any) -> None:
        self.outputs.append(output if isinstance(output, torch.Tensor) else output[0])


class FeatureLoss:
    """How far a student's features are from its teacher's, half-level by half-level.

    Pairs come from `feature_pairs`; of a narrower student, its channels are compared with those of
    the teacher that it inherited.
    """

    def __init__(self, arch: Architecture, teacher: Teacher, student: UNet2DConditionModel) -> None:
        self._pairs = pair_features(arch, teacher.backbone)
        kept = choose_channels(arch, teacher.backbone, teacher.unet_state)
        self._channels = [
            torch.from_numpy(kept[pair.choice]).to(teacher.device) if pair.choice in kept else None
            for pair in self._pairs
        ]
        self._student = student
        self._net = teacher.student(UNPRUNED)

    def taps(self) -> Taps:
        """Catch the student's features: run its forward pass inside."""
        return Taps(self._student, [pair.student for pair in self._pairs])

    def __call__(self, found: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        """The mean relative error of what the taps caught, for the same inputs."""
        with torch.no_grad(), Taps(self._net, [pair.teacher for pair in self._pairs]) as taps:
            self._net(*inputs, return_dict=False)
        wanted = [
            feature if channels is None else feature[:, channels]
            for feature, channels in zip(taps.outputs, self._channels, strict=True)
        ]
        errors = [relative_error(a, b) for a, b in zip(found, wanted, strict=True)]
        return torch.stack(errors).mean()
