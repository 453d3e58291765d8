"""The optimisation loop that the parts of the tiny Stable Diffusion share."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EMA_DECAY = 0.999
SECONDS_BETWEEN_CHECKPOINTS = 60


class Trainer:
    """AdamW with warm-up, cosine decay, EMA weights and exact resumption of some modules."""

    def __init__(self, modules: torch.nn.ModuleDict, path: Path, steps: int, peak: float) -> None:
        self.modules, self.path, self.steps, self.peak = modules, path, steps, peak
        self.parameters = [p for p in modules.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=peak, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.ema = [p.detach().clone() for p in self.parameters]
        self.step = 0
        if path.exists():
            self._load()

    def train(self, loss_of_step: Callable[[int], torch.Tensor]) -> None:
        """Take the steps that are left; `loss_of_step` maps a step number to its loss."""
        start = saved = time.monotonic()
        first, total = self.step, torch.zeros(())
        while self.step < self.steps:
            loss = loss_of_step(self.step)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.param_groups[0]["lr"] = self._learning_rate()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            decay = min(EMA_DECAY, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(self.ema, [p.detach() for p in self.parameters], 1 - decay)
            total = total.to(loss.device) + loss.detach()  # read, and so waited for, seldom
            if self.step % 50 == 0:
                pace = (time.monotonic() - start) / (self.step - first)
                left = pace * (self.steps - self.step) / 60
                print(
                    f"{self.path.stem} {self.step}/{self.steps} loss {float(total) / 50:.4f} "
                    f"{pace:.3f} s/step {left:.0f} min left",
                    flush=True,
                )
                total = torch.zeros(())
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS or self.step == self.steps:
                self._save()
                saved = time.monotonic()
        with torch.no_grad():
            for parameter, average in zip(self.parameters, self.ema, strict=True):
                parameter.copy_(average)
        self.modules.eval().requires_grad_(False)

    def _learning_rate(self) -> float:
        cosine = 0.5 + 0.5 * math.cos(math.pi * self.step / self.steps)
        return self.peak * min((self.step + 1) / 150, cosine + 0.01)

    def _save(self) -> None:
        state = {f"model.{i}": p.detach() for i, p in enumerate(self.parameters)}
        state |= {f"ema.{i}": p for i, p in enumerate(self.ema)}
        for i, parameter in enumerate(self.parameters):
            state |= {f"optimizer.{i}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        state["step"] = torch.tensor(self.step)
        partial = self.path.with_suffix(".partial")
        save_file({k: v.contiguous() for k, v in state.items()}, partial)
        partial.replace(self.path)

    def _load(self) -> None:
        state = load_file(self.path)
        self.step = int(state["step"])
        with torch.no_grad():
            for i, (parameter, average) in enumerate(zip(self.parameters, self.ema, strict=True)):
                parameter.copy_(state[f"model.{i}"])
                average.copy_(state[f"ema.{i}"])
                moments = {
                    k: state[f"optimizer.{i}.{k}"].to(parameter.device, copy=True)
                    for k in ("step", "exp_avg", "exp_avg_sq")
                }
                self.optimizer.state[parameter] = moments
