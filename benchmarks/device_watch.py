"""Which device the operations of a label ran on, module by module: watched, not read from the code.

The embedded tiny model goes through the very modules that a full-size teacher goes through. NumPy
computes on the processor and is not seen here.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sdsearch.labels import Protocol, RecoveryLosses, RecoveryRecipe
from sdsearch.pipelines import open_pipeline
from sdsearch.space import search_space
from sdsearch_eval.bench import evaluate_architecture, prepare_bench
from sdsearch_eval.models import load_teacher
from sdsearch_eval.world import World

if TYPE_CHECKING:
    import torch

_PACKAGE = "sdsearch_eval/"
_ELSEWHERE = "autograd"
"""A GPU's backward pass runs in a thread of torch's own."""


@dataclass(frozen=True, slots=True, order=True)
class Seen:
    """Operations of a module on a device, or copies between two, and the bytes that they wrote."""

    module: str
    device: str
    operations: int
    bytes: int


class DeviceWatch(TorchDispatchMode):
    """Counts torch's operations while its block runs, by the module that called and the device."""

    def __init__(self) -> None:
        super().__init__()
        self._operations: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Do what is asked, and count it unless it only looks at a tensor in another way."""
        result = func(*args, **(kwargs or {}))
        written = _real(result)
        if written and not getattr(func, "is_view", False):
            there = written[0].device.type
            read = {x.device.type for x in _real(args) if x.ndim}
            moved = [f"{device} to {there}" for device in read if device != there]
            key = _calling_module(), moved[0] if moved else there
            self._operations[key] += 1
            self._bytes[key] += sum(x.numel() * x.element_size() for x in written)
        return result

    def seen(self) -> list[Seen]:
        """What was counted, by module and device."""
        return sorted(
            Seen(*key, count, self._bytes[key]) for key, count in self._operations.items()
        )


def _real(values: Any) -> list[Tensor]:
    """The tensors among some values that hold numbers."""
    found = (x for x in tree_leaves(values) if isinstance(x, Tensor))
    return [x for x in found if x.device.type != "meta"]


def _calling_module() -> str:
    """The module of the harness that is at work, such as "recovery/short.py"."""
    frame = sys._getframe(1)
    while frame is not None:
        _, found, name = frame.f_code.co_filename.rpartition(_PACKAGE)
        if found:
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return _ELSEWHERE


def watch_label(device: torch.device) -> list[Seen]:
    """Label a member of the tiny model on a device, preparation included, and say what ran where.

    Raises:
        RuntimeError: it could not be labelled.
    """
    losses = RecoveryLosses(output=1.0, feature=0.5)
    protocol = Protocol(
        samples=4,
        block_size=2,
        steps=2,
        guidance=7.5,
        feature_size=32,
        recovery=RecoveryRecipe(steps=2, batch_size=2, losses=losses),
    )
    teacher = load_teacher(open_pipeline("tiny"), device)
    arch = search_space("tiny").members["bk-small"]
    with TemporaryDirectory() as folder, DeviceWatch() as watch:
        place = Path(folder)
        bench = prepare_bench(protocol, 0, teacher, place / "features")
        label = evaluate_architecture(
            arch, bench, place / "rows", place / "weights.safetensors", World(device=device)
        )
    if label is None or label.failure:
        raise RuntimeError(f"the tiny label failed: {label and label.failure}")
    found: list[Seen] = watch.seen()
    return found
