"""Schedulers built field by field: noise schedule from the teacher, all else from the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.labels import SAMPLERS

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from sdsearch.labels import Scheduler
    from sdsearch.unet import NoiseSchedule

_SHARED = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "timestep_spacing",
)
_LEAST_SIGNAL = 2.0**-24
"""The smallest step of float16, which diffusers' own samplers put in place of zero signal."""


def make_scheduler(schedule: NoiseSchedule, sampler: Scheduler) -> SchedulerMixin:
    """A fresh sampler on a noise schedule; nothing else of the teacher's saved scheduler is used.

    Raises:
        InputError: the betas leave a timestep without signal or without noise.
    """
    training = _build(schedule, "ddim")
    _check_signal(training, schedule)
    rescales = "rescale_betas_zero_snr" in SAMPLERS[sampler].takes
    if schedule.rescale_betas_zero_snr and not rescales:
        betas = _betas_of_least_signal(training)
        schedule = schedule.model_copy(update={"trained_betas": betas})
    return _build(schedule, sampler)


def set_steps(scheduler: SchedulerMixin, steps: int) -> None:
    """Set the timesteps of a scheduler; it stays on the host.

    Raises:
        InputError: the noise schedule is too short for so many steps, or the first of them has no
            signal, from which predicted noise cannot tell an image.
    """
    count = scheduler.config.num_train_timesteps
    fits = steps < count
    if fits:
        scheduler.set_timesteps(steps)
        fits = bool(scheduler.timesteps.max() < count)  # 'leading' adds 1
    if not fits:
        raise InputError(
            f"steps must be fewer than the {count} timesteps of the teacher's noise schedule "
            f"have room for, but are {steps}"
        )
    signal = scheduler.alphas_cumprod[int(scheduler.timesteps.max())]
    if signal == 0 and scheduler.config.prediction_type == "epsilon":
        raise InputError(
            "a teacher that predicts noise must be sampled from a timestep with some signal, but "
            "rescale_betas_zero_snr with this timestep_spacing begins with none; choose another "
            "sampler than ddim, or save the teacher with 'leading'"
        )


def _build(schedule: NoiseSchedule, sampler: Scheduler) -> SchedulerMixin:
    import diffusers

    kind, takes, options = SAMPLERS[sampler]
    noise = {name: getattr(schedule, name) for name in (*_SHARED, *takes)}
    built: SchedulerMixin = getattr(diffusers, kind)(**noise, **options)
    return built


def _check_signal(training: SchedulerMixin, schedule: NoiseSchedule) -> None:
    signal = training.alphas_cumprod  # (timesteps,): shares of the variance
    signal = signal[:-1] if schedule.rescale_betas_zero_snr else signal
    if not bool(((signal > 0) & (signal < 1)).all()):
        raise InputError(
            "the betas of the teacher's scheduler must leave signal and noise at each timestep, "
            f"but those of {schedule.beta_schedule!r} from {schedule.beta_start} to "
            f"{schedule.beta_end} over {schedule.num_train_timesteps} timesteps do not; save the "
            "scheduler that it was trained with"
        )


def _betas_of_least_signal(training: SchedulerMixin) -> tuple[float, ...]:
    """Betas rescaled to zero terminal SNR, except that the last leaves hardly any signal.

    They are for samplers that know no rescaling and divide by the signal. Euler and DPM-Solver++
    of diffusers do the same inside.
    """
    betas = training.betas.clone()
    betas[-1] = 1 - _LEAST_SIGNAL / training.alphas_cumprod[-2]
    return tuple(betas.tolist())
