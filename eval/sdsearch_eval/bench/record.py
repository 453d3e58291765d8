"""What a label says of how and where it was measured, beyond its protocol."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch_eval.devices import HOST, name_device
from sdsearch_eval.models import make_scheduler, set_steps
from sdsearch_eval.seeds import DERIVATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.labels import Protocol
    from sdsearch.unet import NoiseSchedule
    from sdsearch_eval.data import Sample


def describe_environment(device: torch.device) -> dict[str, object]:
    """The device and the switches of torch that may move a value by rounding."""
    return {
        "device": platform.machine() if device == HOST else name_device(device),
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def describe_sampling(schedule: NoiseSchedule, protocol: Protocol) -> dict[str, object]:
    """The teacher's noise schedule, the scheduler as built, and the harness's own rules by name.

    Raises:
        InputError: the noise schedule cannot be sampled in so many steps.
    """
    scheduler = make_scheduler(schedule, protocol.scheduler)
    set_steps(scheduler, protocol.steps)
    return {
        "scheduler": type(scheduler).__name__,
        "scheduler_config": {
            name: value
            for name, value in sorted(scheduler.config.items())
            if not name.startswith("_") and isinstance(value, bool | int | float | str)
        },
        "noise_schedule": schedule.model_dump(exclude={"trained_betas"}),
        "vae": "mode of the posterior",
        "prefill": "grey",
        "latent_mask": "max-pooled",
        "composite": "hard, by the pixel mask, after rounding",
        "noise": f"float32 on the CPU, seeds by {DERIVATION}",
        "safety_checker": False,
    }


def hole_fractions(samples: Sequence[Sample]) -> list[float]:
    """Least, quartiles and largest of the holes' shares of their images, or of whole photos."""
    shares = [sample.share for sample in samples]
    return [round(float(x), 4) for x in np.quantile(shares, (0, 0.25, 0.5, 0.75, 1))]
