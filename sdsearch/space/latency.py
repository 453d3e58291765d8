"""Latency of every member from a few measured ones: an additive model, a time for each block.

A survey holds measured calls of whole UNets; a table is fitted to it by non-negative least squares
on relative errors. Blocks that compute the same (kind, channels, feature size) share one time. The
error is cross-validated over members, so that it says how well *other* members are predicted.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from sdsearch.errors import InputError
from sdsearch.files import read_json_bytes
from sdsearch.model import FrozenModel, SealedModel
from sdsearch.unet import SLOTS, Architecture, Backbone, member_backbone, slot_costs

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sdsearch.space.space import SearchSpace

Dtype = Literal["float32", "float16", "bfloat16"]
"""The precisions in which UNet calls are timed."""
_FOLDS, _REPEATS = 5, 4
_Model = TypeVar("_Model", bound=FrozenModel)


class LatencyConditions(FrozenModel):
    """Where and how UNet calls were timed; times under other conditions are other times."""

    device: str = "cpu"
    dtype: Dtype = "float32"
    batch: int = Field(1, ge=1)
    cfg: bool = False
    """Classifier-free guidance: both halves in one call, twice the batch."""
    latent: tuple[int, int]
    threads: int = Field(1, ge=1)
    rounds: int = Field(5, ge=1)
    runs: int = Field(7, ge=1)
    """Timed calls of a member in each round, after the warm-up."""


class SurveyedMember(FrozenModel):
    """One member and its timed calls, in milliseconds, round by round."""

    architecture: Architecture
    milliseconds: tuple[tuple[float, ...], ...] = ()

    @property
    def median(self) -> float:
        """The median over all rounds."""
        return float(np.median(np.concatenate(self.milliseconds)))

    @property
    def iqr(self) -> float:
        """The interquartile range over all rounds."""
        low, high = np.percentile(np.concatenate(self.milliseconds), [25, 75])
        return float(high - low)


class LatencySurvey(SealedModel):
    """What is to be timed and what has been; the harness fills it in and can resume it."""

    when_damaged: ClassVar = "remove it, then survey again"

    space: str
    backbone: Backbone
    conditions: LatencyConditions
    hardware: str = ""
    versions: dict[str, str] = Field(default_factory=dict)
    members: tuple[SurveyedMember, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every member has all its rounds."""
        return all(len(m.milliseconds) == self.conditions.rounds for m in self.members)


class CrossValidation(FrozenModel):
    """Mean absolute percentage error over held-out members, and its standard error over them."""

    mape: float
    se: float
    worst: float
    n: int
    folds: int
    repeats: int
    seed: int


class LatencyTable(SealedModel):
    """Milliseconds of every block that was seen, and how well their sum predicts a UNet call."""

    when_damaged: ClassVar = "remove it, then survey again"

    schema_version: Literal[1] = 1
    milliseconds: dict[str, float]
    error: CrossValidation
    survey: LatencySurvey

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.milliseconds)

    def predict(self, arch: Architecture) -> float:
        """Milliseconds of one UNet call of a member under the survey's conditions.

        Raises:
            InputError: the member has a block that no surveyed member had.
        """
        blocks = count_blocks(arch, self.survey.backbone, self.survey.conditions.latent)
        unseen = blocks.keys() - self._known
        if unseen:
            raise InputError(
                f"every block must have been surveyed, but no member had {min(unseen)!r}; survey "
                "more members of the space that this one is in"
            )
        return sum(self.milliseconds[name] * count for name, count in blocks.items())


def design_survey(
    space: SearchSpace, members: int, conditions: LatencyConditions, rng: np.random.Generator
) -> LatencySurvey:
    """What to measure: the named members and a stratified sample, `members` in all.

    Raises:
        InputError: there are too few members to fit and cross-validate a table.
    """
    named = list(space.members.values())
    if members < 4 * _FOLDS:
        raise InputError(f"members must be at least {4 * _FOLDS} to be cross-validated: {members}")
    drawn = [arch for arch in space.sample_stratified(members, rng) if arch not in named]
    chosen = [*named, *drawn][:members]
    return LatencySurvey(
        space=space.name,
        backbone=space.backbone,
        conditions=conditions,
        members=tuple(SurveyedMember(architecture=arch) for arch in chosen),
    )


def fit_latency_table(survey: LatencySurvey, seed: int = 0) -> LatencyTable:
    """Fit a time for every block to a complete survey, and cross-validate it over members.

    Raises:
        InputError: the survey has members without measurements.
    """
    if not survey.is_complete:
        raise InputError("every surveyed member must be measured; run the survey again to go on")
    blocks = [
        count_blocks(m.architecture, survey.backbone, survey.conditions.latent)
        for m in survey.members
    ]
    names = sorted(set().union(*blocks))
    counts = np.array([[row[name] for name in names] for row in blocks], np.float64)
    medians = np.array([member.median for member in survey.members])
    times = _solve(counts, medians)
    return LatencyTable(
        milliseconds=dict(zip(names, times.tolist(), strict=True)),
        error=_cross_validate(counts, medians, seed),
        survey=survey,
    )


def space_latencies(table: LatencyTable, space: SearchSpace) -> NDArray[np.float64]:
    """(len(space),) predicted milliseconds of every member, by the additivity of units.

    Raises:
        InputError: the space has widths to choose, which change the blocks of two units at once.
    """
    if space.chooses_widths:
        raise InputError(f"all members must have the same widths, but {space.name} has a choice")
    # Times add up over units: member 0's, and what another option of each unit changes.
    base = table.predict(space.arch(0))
    total = np.full(space.radices, base)  # (a, b, c, d)
    for axis, radix in enumerate(space.radices):
        digits = np.zeros((radix, len(space.units)), np.int64)
        digits[:, axis] = np.arange(radix)
        members = [space.arch(int(index)) for index in space.indices(digits)]
        shape = [1] * len(space.units)
        shape[axis] = radix
        total += np.array([table.predict(arch) - base for arch in members]).reshape(shape)
    return total.reshape(-1)


def count_blocks(arch: Architecture, backbone: Backbone, latent: tuple[int, int]) -> Counter[str]:
    """How many blocks of each kind a member runs; blocks of one name cost the same.

    Everything outside of blocks (time embedding, first and last convolution) is "fixed".
    """
    own = member_backbone(arch, backbone)
    costs = slot_costs(arch, backbone, latent)
    blocks: Counter[str] = Counter({"fixed": 1})
    for slot, cost in zip(SLOTS, costs, strict=True):
        kept, ghost = slot.name in arch.kept_slots, slot.name in arch.ghost_slots
        if slot.kind in ("conv_in", "conv_out") or not (kept or ghost):
            continue
        kind = "ghost" if ghost else f"{slot.half} sample" if slot.kind == "sample" else slot.kind
        height, width = cost.size
        channels = f"{slot.in_channels(own)} to {slot.out_channels(own)}"
        blocks[f"{kind} {channels} at {height}x{width}"] += 1
    return blocks


def read_survey(path: Path) -> LatencySurvey:
    """Read a survey file; raises `InputError` where it is none."""
    return _read(LatencySurvey, path)


def read_latency_table(path: Path) -> LatencyTable:
    """Read a table file; raises `InputError` where it is none."""
    return _read(LatencyTable, path)


def _read(model: type[_Model], path: Path) -> _Model:
    data = read_json_bytes(path)
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise InputError(f"{path} must be a {model.__name__}: {error.errors()[0]['msg']}") from None


def _solve(counts: NDArray[np.float64], medians: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.optimize import nnls

    times, _ = nnls(counts / medians[:, None], np.ones(len(medians)))
    found: NDArray[np.float64] = times
    return found


def _cross_validate(
    counts: NDArray[np.float64], medians: NDArray[np.float64], seed: int
) -> CrossValidation:
    rng = np.random.default_rng(seed)
    errors = np.zeros((_REPEATS, len(medians)))
    for repeat in range(_REPEATS):
        fold = rng.permutation(len(medians)) % _FOLDS
        for held in range(_FOLDS):
            out = fold == held
            guess = counts[out] @ _solve(counts[~out], medians[~out])
            errors[repeat, out] = np.abs(guess / medians[out] - 1)
    member = 100 * errors.mean(0)
    return CrossValidation(
        mape=float(member.mean()),
        se=float(member.std(ddof=1) / np.sqrt(len(member))),
        worst=float(member.max()),
        n=len(member),
        folds=_FOLDS,
        repeats=_REPEATS,
        seed=seed,
    )
