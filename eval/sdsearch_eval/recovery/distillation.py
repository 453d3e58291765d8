"""Distillation losses: output, task and features, each relative to the size of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch

from sdsearch.weights import choose_channels, pair_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import UNet2DConditionModel
    from torch import Tensor

    from sdsearch.unet import Architecture
    from sdsearch_eval.models import Teacher


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error over the square of what is wanted, mean over a batch: 1 for zeros.

    Each image counts by itself, so that a batch may be learned in parts.
    """
    squares = [x.square().flatten(1).mean(1) for x in (found - wanted, wanted)]
    return (squares[0] / squares[1]).mean()


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


class FeaturePairs:
    """The half-levels of a student and of its teacher whose features are compared.

    Pairs come from `feature_pairs`; of a narrower student, its channels are compared with those of
    the teacher that it inherited.
    """

    def __init__(self, arch: Architecture, teacher: Teacher) -> None:
        self._pairs = pair_features(arch, teacher.backbone)
        kept = choose_channels(arch, teacher.backbone, teacher.unet_state)
        self._channels = [
            torch.from_numpy(kept[pair.choice]).to(teacher.device) if pair.choice in kept else None
            for pair in self._pairs
        ]

    def student_taps(self, student: UNet2DConditionModel) -> Taps:
        """Catch the student's features: run its forward pass inside."""
        return Taps(student, [pair.student for pair in self._pairs])

    def teacher_taps(self, net: UNet2DConditionModel) -> Taps:
        """Catch the unpruned teacher's features."""
        return Taps(net, [pair.teacher for pair in self._pairs])

    def inherited(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The channels of the teacher's features that the student has."""
        return [
            feature if channels is None else feature[:, channels]
            for feature, channels in zip(features, self._channels, strict=True)
        ]


def feature_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The mean relative error of features, compared in float32."""
    errors = [relative_error(a.float(), b.float()) for a, b in zip(found, wanted, strict=True)]
    return torch.stack(errors).mean()


class FeatureLoss:
    """How far a student's features are from those of its teacher's `net`, by half-levels."""

    def __init__(
        self,
        arch: Architecture,
        teacher: Teacher,
        student: UNet2DConditionModel,
        net: UNet2DConditionModel,
    ) -> None:
        self._pairs = FeaturePairs(arch, teacher)
        self._student, self._net = student, net

    def taps(self) -> Taps:
        """Catch the student's features: run its forward pass inside."""
        return self._pairs.student_taps(self._student)

    def __call__(self, found: Sequence[Tensor], *inputs: Tensor) -> Tensor:
        """The mean relative error of what the taps caught, for the same inputs."""
        with torch.no_grad(), self._pairs.teacher_taps(self._net) as taps:
            self._net(*in_precision(self._net, inputs), return_dict=False)
        return feature_error(found, self._pairs.inherited(taps.outputs))


def in_precision(net: UNet2DConditionModel, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What a net takes in its own precision; timesteps are whole numbers and stay so."""
    return [x.to(net.dtype) if x.is_floating_point() else x for x in inputs]
