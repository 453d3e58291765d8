"""A probe: what the unpruned net's output loses with each removal, known before any label.

The net without one block is asked what the whole net was asked; how far its answers are off, as a
share of their power, is the error of the removal. Errors of units add up: the sum over an
architecture's units is its one-shot error, the criterion of LAPTOP-Diff (Zhang et al. 2024).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from sdsearch.design.scores import SpaceScores
from sdsearch.errors import InputError
from sdsearch.model import FrozenModel, SealedModel
from sdsearch.space import add_up, list_losses, list_removals, spread_errors
from sdsearch.unet import SLOTS, UNIT_NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sdsearch.space import SearchSpace

    Floats = NDArray[np.float64]

LEAST_ERROR = 1e-4
"""The relative squared error below which differences do not matter: 1 % of the output."""


class Removal(FrozenModel):
    """What one removal changes.

    Attributes:
        unit, option: which option of which unit takes it away, by name and number.
        words: the option in words.
        lost: the slots that are gone.
        errors: by timestep, the mean over samples of the squared change of the output, as a share
            of the output's own mean square.
        se: standard error over samples of the weighted mean of `errors`.
    """

    unit: str
    option: int = Field(ge=0)
    words: str
    lost: tuple[str, ...]
    errors: tuple[float, ...]
    se: float = Field(ge=0)


class Probe(SealedModel):
    """`probe.json`: the errors of all measured removals, and what each block of the net takes.

    Attributes:
        space: the space whose options were removed.
        asked: how many recovery samples were wanted; `samples` is how many there were.
        timesteps: at which each of them was asked about.
        weights: how much each timestep counts, summing to 1.
        milliseconds: median time of each slot in one call of the unpruned net for one picture.
        device: what was timed.
    """

    when_damaged: ClassVar[str] = "remove the file, then run: sdsearch probe STUDY"

    schema_version: Literal[1] = Field(1, alias="schema")
    space: str
    asked: int = Field(ge=1)
    samples: int = Field(ge=1)
    timesteps: tuple[int, ...]
    weights: tuple[float, ...]
    removals: tuple[Removal, ...]
    milliseconds: dict[str, float]
    device: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.timesteps)
        if not count or len(self.weights) != count or abs(sum(self.weights) - 1) > 1e-6:
            raise ValueError(f"{count} timesteps must have weights that sum to 1")
        for removal in self.removals:
            if len(removal.errors) != count or removal.unit not in UNIT_NAMES:
                raise ValueError(f"{removal.unit}: {removal.words} must have an error a timestep")
        return self

    def __repr__(self) -> str:
        return (
            f"Probe({self.space}: {len(self.removals)} removals at {len(self.timesteps)} timesteps)"
        )

    def __str__(self) -> str:
        return repr(self)

    def error(self, removal: Removal) -> float:
        """The weighted mean of a removal's errors over timesteps."""
        return float(np.dot(self.weights, removal.errors))

    def option_errors(self, space: SearchSpace) -> tuple[Floats, ...]:
        """Per unit the error of each option, the other units unpruned: (options,) each.

        Raises:
            InputError: the probe is of another space.
        """
        by_unit = {(one.unit, one.option): self.error(one) for one in self.removals}
        measured = []
        for unit, numbers in zip(space.units, list_removals(space), strict=True):
            missing = [number for number in numbers if (unit.name, number) not in by_unit]
            if missing or self.space != space.name:
                raise InputError(
                    f"a probe must be of space {space.name!r} and all its removals, but is of "
                    f"{self.space!r}; run: sdsearch probe STUDY"
                )
            measured.append({number: by_unit[unit.name, number] for number in numbers})
        return spread_errors(space, measured)

    def slot_errors(self, space: SearchSpace) -> dict[str, float]:
        """The error of the smallest removal that takes each slot away, by slot name."""
        errors, found = self.option_errors(space), dict[str, tuple[int, float]]()
        for axis, options in enumerate(errors):
            for loss, error in zip(list_losses(space, axis), options, strict=True):
                for name in loss:
                    found[name] = min(found.get(name, (len(SLOTS), error)), (len(loss), error))
        return {slot.name: found[slot.name][1] for slot in SLOTS if slot.name in found}


def log_errors(errors: tuple[Floats, ...]) -> Floats:
    """(len(space),) the logarithm of each member's one-shot error, the sum over its units."""
    found: Floats = np.log(add_up(list(errors)) + LEAST_ERROR)
    return found


def score_by_probe(errors: tuple[Floats, ...]) -> SpaceScores:
    """One-shot scores of all members: minus the logarithm of the error; `errors` are the options'.

    Nothing is known of a target before there are labels: these are no predictions of one.
    """
    cube = -log_errors(errors).reshape([len(options) for options in errors])
    axes = range(cube.ndim)
    marginals = tuple(cube.mean(axis=tuple(set(axes) - {axis}))[:, None] for axis in axes)
    flat = cube.reshape(-1).astype(np.float32)
    return SpaceScores(flat, np.zeros_like(flat), marginals)


def read_probe(file: Path) -> Probe | None:
    """The probe of a study, or None where there is none yet.

    Raises:
        InputError: the file is damaged.
    """
    return Probe.read(file, "a probe", f"sdsearch probe {file.parent}")
