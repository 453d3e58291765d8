"""The optimisation loop of every part of a tiny Stable Diffusion: one CUDA graph a step."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    Batch = Mapping[str, torch.Tensor]

EMA_DECAY = 0.999
SECONDS_BETWEEN_CHECKPOINTS = 60
STEPS_BEFORE_GRAPH = 4
"""Taken one kernel at a time, so that every library has what it allocates before the capture."""


class Trainer:
    """AdamW with warm-up, cosine decay, EMA weights and exact resumption of some modules.

    A step has two parts: `draw` chooses its batch by the step's number, `loss` computes on tensors
    alone. On CUDA the second, with the backward pass, clipping, optimizer and averaging, is one
    graph: launching these small kernels one by one would cost most of a step. Every trainer has a
    stream of its own, so that several nets fill a GPU together (`train_together`).
    """

    def __init__(
        self,
        modules: torch.nn.ModuleDict,
        draw: Callable[[int], Batch],
        loss: Callable[[Batch], torch.Tensor],
        path: Path,
        steps: int,
        peak: float,
    ) -> None:
        self.modules, self.draw, self.loss = modules, draw, loss
        self.path, self.steps, self.peak = path, steps, peak
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        device = self.parameters[0].device
        self.rate = torch.tensor(peak, device=device)
        self.decay = torch.tensor(0.0, device=device)
        self.total = torch.zeros((), device=device)
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=self.rate,
            betas=(0.9, 0.99),
            weight_decay=0.01,
            fused=True,
            capturable=device.type == "cuda",
        )
        self.ema = [p.detach().clone() for p in self.parameters]
        self.step = self.first = 0
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.held: dict[str, torch.Tensor] = {}
        if path.exists():
            self._load()
        self.saved = time.monotonic()

    def take_step(self) -> None:
        """Take the next step; on CUDA it is only ordered, not waited for."""
        with self._on_stream():
            batch = self.draw(self.step)
            self.rate.fill_(self._learning_rate())
            self.decay.fill_(min(EMA_DECAY, (2 + self.step) / (11 + self.step)))
            if self.stream is None or self.step - self.first < STEPS_BEFORE_GRAPH:
                self._compute(batch)
            else:
                self._replay(batch)
        self.step += 1

    def finish(self) -> None:
        """Keep the averaged weights in the modules, for evaluation."""
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.ema, strict=True):
                parameter.copy_(average)
        self.modules.eval().requires_grad_(False)

    def _on_stream(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self.stream) if self.stream is not None else nullcontext()

    def _compute(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        with torch.no_grad():
            apart = torch._foreach_sub(self.parameters, self.ema)
            torch._foreach_mul_(apart, 1 - self.decay)
            torch._foreach_add_(self.ema, apart)
            self.total += loss.detach()

    def _replay(self, batch: Batch) -> None:
        if self.graph is None:
            self.held = {name: tensor.clone() for name, tensor in batch.items()}
            self.graph = torch.cuda.CUDAGraph()
            torch.cuda.synchronize()
            with torch.cuda.graph(self.graph, stream=self.stream):
                self._compute(self.held)
        for name, tensor in batch.items():
            self.held[name].copy_(tensor)
        self.graph.replay()

    def _learning_rate(self) -> float:
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.step / self.steps)
        return self.peak * min((self.step + 1) / 150, cosine + 0.01)

    def save(self) -> None:
        """Write all that the next steps depend on."""
        state = {f"model.{i}": p.detach() for i, p in enumerate(self.parameters)}
        state |= {f"ema.{i}": p for i, p in enumerate(self.ema)}
        for i, parameter in enumerate(self.parameters):
            state |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        state["step"] = torch.tensor(self.step)
        partial = self.path.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in state.items()}, partial)
        partial.replace(self.path)
        self.saved = time.monotonic()

    def _load(self) -> None:
        state = load_file(self.path)
        self.step = self.first = int(state["step"])
        with torch.no_grad():
            for i, (parameter, average) in enumerate(zip(self.parameters, self.ema, strict=True)):
                parameter.copy_(state[f"model.{i}"])
                average.copy_(state[f"ema.{i}"])
                moments = {
                    k: state[f"optimizer.{i}.{k}"].to(parameter.device, copy=True)
                    for k in ("step", "exp_avg", "exp_avg_sq")
                }
                self.optimizer.state[parameter] = moments


def train_together(trainers: Iterable[Trainer]) -> None:
    """Take the steps that are left of all trainers in turn, with a checkpoint a minute."""
    running = [trainer for trainer in trainers if trainer.step < trainer.steps]
    start, rounds = time.monotonic(), 0
    while running:
        for trainer in running:
            trainer.take_step()
        rounds += 1
        if rounds % 100 == 0:
            for trainer in running:  # reading a loss waits for its steps: seldom
                pace = (time.monotonic() - start) / rounds
                left = pace * (trainer.steps - trainer.step) / 60
                print(
                    f"{trainer.path.stem} {trainer.step}/{trainer.steps} "
                    f"loss {float(trainer.total) / 100:.4f} {pace:.3f} s/step {left:.1f} min left",
                    flush=True,
                )
                trainer.total.zero_()
        for trainer in running:
            late = time.monotonic() - trainer.saved > SECONDS_BETWEEN_CHECKPOINTS
            if trainer.step == trainer.steps or late:
                _wait(trainer)
                trainer.save()
        running = [trainer for trainer in running if trainer.step < trainer.steps]


def _wait(trainer: Trainer) -> None:
    if trainer.stream is not None:
        trainer.stream.synchronize()
