"""Samplers of the protocol, each with all of its options: none comes from a saved scheduler."""

from __future__ import annotations

from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.labels.choices import Scheduler


class Sampler(NamedTuple):
    """A scheduler class of diffusers, its options, and which fields it takes from the teacher.

    Every sampler takes betas, prediction type and spacing from the teacher's noise schedule;
    `takes` names the fields that not every class knows.
    """

    kind: str
    takes: tuple[str, ...]
    options: Mapping[str, Any]


# Clipping and thresholding are for pixels: latents exceed [-1, 1].
_NO_THRESHOLD = {
    "thresholding": False,
    "dynamic_thresholding_ratio": 0.995,
    "sample_max_value": 1.0,
}
_PLAIN_SIGMAS = {
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
}
_NO_FLOW = {
    "use_flow_sigmas": False,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "time_shift_type": "exponential",
}
# The stock Stable Diffusion pipelines set it to 1, whatever the saved scheduler says.
_OFFSET = {"steps_offset": 1}

SAMPLERS: Mapping[Scheduler, Sampler] = MappingProxyType(
    {
        "ddim": Sampler(
            "DDIMScheduler",
            ("rescale_betas_zero_snr", "set_alpha_to_one"),
            {**_OFFSET, **_NO_THRESHOLD, "clip_sample": False, "clip_sample_range": 1.0},
        ),
        # The stock pipelines skip the Runge-Kutta warm-up too.
        "pndm": Sampler(
            "PNDMScheduler", ("set_alpha_to_one",), {**_OFFSET, "skip_prk_steps": True}
        ),
        "euler": Sampler(
            "EulerDiscreteScheduler",
            ("rescale_betas_zero_snr",),
            {
                **_OFFSET,
                **_PLAIN_SIGMAS,
                "interpolation_type": "linear",
                "sigma_min": None,
                "sigma_max": None,
                "timestep_type": "discrete",
                "final_sigmas_type": "zero",
            },
        ),
        "dpmsolver++": Sampler(
            "DPMSolverMultistepScheduler",
            ("rescale_betas_zero_snr",),
            {
                **_OFFSET,
                **_NO_THRESHOLD,
                **_PLAIN_SIGMAS,
                **_NO_FLOW,
                "algorithm_type": "dpmsolver++",
                "solver_order": 2,
                "solver_type": "midpoint",
                "lower_order_final": True,
                "euler_at_final": False,
                "use_lu_lambdas": False,
                "final_sigmas_type": "zero",
                "lambda_min_clipped": -inf,
                "variance_type": None,
            },
        ),
        "unipc": Sampler(
            "UniPCMultistepScheduler",
            ("rescale_betas_zero_snr",),
            {
                **_OFFSET,
                **_NO_THRESHOLD,
                **_PLAIN_SIGMAS,
                **_NO_FLOW,
                "solver_order": 2,
                "solver_type": "bh2",
                "predict_x0": True,
                "lower_order_final": True,
                "disable_corrector": (),
                "solver_p": None,
                "final_sigmas_type": "zero",
                "sigma_min": None,
                "sigma_max": None,
                "shift_terminal": None,
            },
        ),
        "deis": Sampler(
            "DEISMultistepScheduler",
            (),
            {
                **_OFFSET,
                **_NO_THRESHOLD,
                **_PLAIN_SIGMAS,
                **_NO_FLOW,
                "algorithm_type": "deis",
                "solver_order": 2,
                "solver_type": "logrho",
                "lower_order_final": True,
            },
        ),
    }
)
"""Deterministic all: nothing is drawn after the first noise. What is changed here changes values,
so it raises `Protocol.revision`."""
