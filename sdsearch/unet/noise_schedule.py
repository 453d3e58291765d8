"""The noise schedule that a teacher's UNet was trained on, read from its saved scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sdsearch.errors import FieldError, InputError
from sdsearch.model import FrozenModel
from sdsearch.pipelines import INDEX, explain_class, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.pipelines import PipelineFolder

_CLASSES = (
    "DDIMScheduler",
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "UniPCMultistepScheduler",
)
"""Classes of diffusers whose config holds the betas of Stable Diffusion v1 and v2."""
_REASONS = {
    "Flow": "flow matching has no betas",
    "EDM": "EDM's noise is told by sigmas and not by betas",
    "UnCLIP": "unCLIP's prior and decoder are other models",
}
_OTHER_KINDS: dict[str, tuple[object, str]] = {
    "use_flow_sigmas": (False, "flow matching has no betas"),
    "timestep_type": ("discrete", "its UNet is told sigmas in place of timesteps, as EDM's is"),
}
"""Options that make another kind of model of an accepted class: what they must be, and why."""


class NoiseSchedule(FrozenModel, strict=True):
    """How much noise each training timestep has, what the UNet predicts and where sampling steps.

    Fields are called as in diffusers. Defaults are Stable Diffusion's convention, for what a saved
    scheduler leaves unsaid. `trained_betas`, where given, stand for the three other fields of
    betas. `rescale_betas_zero_snr` is Algorithm 1 of Lin et al. 2023 (arXiv:2305.08891).

    `steps_offset` is no field: the stock Stable Diffusion pipelines take any value but 1 for an
    outdated file and set it to 1.
    """

    num_train_timesteps: int = Field(1000, ge=2, le=100_000)
    beta_start: float = Field(0.00085, gt=0, lt=1)
    beta_end: float = Field(0.012, gt=0, lt=1)
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    trained_betas: tuple[float, ...] | None = Field(None, strict=False)
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    rescale_betas_zero_snr: bool = False
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "leading"
    set_alpha_to_one: bool = False

    @model_validator(mode="after")
    def _one_beta_a_timestep(self) -> Self:
        betas = self.trained_betas
        if betas is None:
            return self
        if len(betas) != self.num_train_timesteps:
            raise ValueError(
                f"trained_betas must be num_train_timesteps = {self.num_train_timesteps} numbers, "
                f"but are {len(betas)}"
            )
        if not all(0 < beta < 1 for beta in betas):
            raise ValueError("trained_betas must lie between 0 and 1, but one does not")
        return self

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str = "scheduler_config.json") -> Self:
        """Read a `scheduler_config.json`: the noise schedule alone, whatever sampler was saved.

        `where` is what errors call the file.

        Raises:
            FieldError: the scheduler is of a kind that no SD v1 or v2 model is trained with.
            InputError: a field has a value outside of what these models have.
        """
        _check_kind(config, where)
        said = {name: config[name] for name in cls.model_fields if name in config}
        try:
            return cls.model_validate(said)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "the noise schedule"
            raise InputError(
                f"{field} in {where} must be as SD v1 and v2 have it, but: {first['msg']}; save "
                "the scheduler that the teacher was trained with"
            ) from error


def read_noise_schedule(pipeline: PipelineFolder) -> NoiseSchedule:
    """Read the noise schedule of a pipeline.

    diffusers loads a scheduler by the class that model_index.json names and not by the one that
    its config names, so both have to be of the kind.

    Raises:
        InputError: the folder has no readable scheduler, or one of another kind.
    """
    entry, where = pipeline.index.get("scheduler"), f"scheduler in {pipeline.folder / INDEX}"
    library, name = entry if isinstance(entry, list) and len(entry) == 2 else (None, entry)
    _check_class(name, where)
    if library != "diffusers":
        wanted = f"{['diffusers', name]}, from where a stock pipeline loads it"
        raise FieldError(where, entry, wanted, "no other library is supported for this part")
    file = pipeline.folder / "scheduler" / "scheduler_config.json"
    return NoiseSchedule.from_config(read_json(file), str(file))


def _check_class(name: object, where: str) -> None:
    if name not in _CLASSES:
        step = "save the pipeline with the scheduler that it was trained with"
        reason = next((why for part, why in _REASONS.items() if part in str(name)), step)
        raise FieldError(
            where,
            name,
            f"a class that holds the betas of SD v1 and v2 ({', '.join(_CLASSES)})",
            explain_class(name) or reason,
        )


def _check_kind(config: Mapping[str, Any], where: str) -> None:
    _check_class(config.get("_class_name"), f"_class_name in {where}")
    for option, (wanted, why) in _OTHER_KINDS.items():
        value = config.get(option, wanted)
        if value != wanted:
            raise FieldError(f"{option} in {where}", value, repr(wanted), why)
