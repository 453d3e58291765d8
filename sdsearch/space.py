"""SearchSpace: every member is a stock `UNet2DConditionModel` config, numbered by mixed radix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from sdsearch.architecture import Architecture, Bottom, Level
from sdsearch.backbone import SD14, TINY, Backbone
from sdsearch.errors import InputError, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNIT_NAMES = ("level0", "level1", "level2", "bottom")
SPACES = ("sd14", "sd14-blocks", "tiny")


@dataclass(frozen=True, slots=True)
class Unit:
    """One independent choice: both halves of a level, or the bottom (level 3 with the mid block)."""

    name: str
    options: tuple[Level, ...] | tuple[Bottom, ...]


@dataclass(frozen=True)
class SearchSpace:
    """The product of the options of four units on a backbone; member i <-> digits by mixed radix.

    `level0` is the most significant digit.
    """

    name: str
    backbone: Backbone
    units: tuple[Unit, Unit, Unit, Unit]

    def __len__(self) -> int:
        return prod(self.radices)

    @property
    def radices(self) -> tuple[int, ...]:
        """Number of options of each unit."""
        return tuple(len(unit.options) for unit in self.units)

    @cached_property
    def _option_numbers(self) -> tuple[dict[Level | Bottom, int], ...]:
        return tuple({option: i for i, option in enumerate(unit.options)} for unit in self.units)

    def option_indices(self, arch: Architecture) -> tuple[int, ...]:
        """The four digits of a member; raises `InputError` with the reason where it is none."""
        reason = self.why_not(arch)
        if reason is not None:
            raise InputError(f"not a member of {self.name}: {reason}")
        chosen = (*arch.levels, arch.bottom)
        return tuple(numbers[option] for numbers, option in zip(self._option_numbers, chosen, strict=True))

    def index(self, arch: Architecture) -> int:
        """The number of a member, in [0, len(space))."""
        return int(self.indices(np.array([self.option_indices(arch)]))[0])

    def arch(self, index: int) -> Architecture:
        """The member of a number; raises `InputError` outside [0, len(space))."""
        if not 0 <= index < len(self):
            raise InputError(f"0 <= index < {len(self)} must hold in {self.name}, but got {index}")
        level0, level1, level2, bottom = (
            unit.options[digit] for unit, digit in zip(self.units, self.digits(np.array([index]))[0], strict=True)
        )
        return Architecture.model_validate({"levels": (level0, level1, level2), "bottom": bottom})

    def digits(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) member numbers -> (n, 4) option numbers."""
        return np.stack(np.unravel_index(indices, self.radices), axis=1)

    def indices(self, digits: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 4) option numbers -> (n,) member numbers, the inverse of `digits`."""
        return np.ravel_multi_index(tuple(digits.T), self.radices).astype(np.int64)

    def why_not(self, arch: Architecture) -> str | None:
        """Why `arch` is no member, in words, or None if it is one."""
        widths = self.backbone.block_out_channels
        if arch.bottom.depth == 0 and widths[2] != widths[3]:
            return f"bottom depth 0 needs equal widths at levels 2 and 3, but they are {widths[2]} and {widths[3]}"
        for unit, numbers, option in zip(
            self.units, self._option_numbers, (*arch.levels, arch.bottom), strict=True
        ):
            if option not in numbers:
                return f"{unit.name} has no option ({option}) among its {len(numbers)}"
        return None

    def sample(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """`n` distinct members, uniform; raises `InputError` if the space has fewer."""
        self._check_count(n)
        return [self.arch(int(i)) for i in rng.choice(len(self), size=n, replace=False)]

    def sample_stratified(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """`n` distinct members in which every option of a unit appears floor or ceil(n / options) times."""
        self._check_count(n)
        while True:
            columns = [
                rng.permutation(np.concatenate([rng.permutation(radix) for _ in range(-(-n // radix))])[:n])
                for radix in self.radices
            ]
            chosen = self.indices(np.stack(columns, axis=1))
            if len(np.unique(chosen)) == n:
                return [self.arch(int(i)) for i in chosen]

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """All members that differ from `arch` in the option of exactly one unit."""
        home = self.option_indices(arch)
        changed = [
            (*home[:unit], other, *home[unit + 1 :])
            for unit, radix in enumerate(self.radices)
            for other in range(radix)
            if other != home[unit]
        ]
        return [self.arch(int(i)) for i in self.indices(np.array(changed))]

    @cached_property
    def members(self) -> dict[str, Architecture]:
        """The named members: the teacher and BK-SDM Base, Small and Tiny."""
        full, half = _level(2), _level(1)
        return {
            "teacher": Architecture(levels=(full, full, full), bottom=Bottom(depth=2, mid="attention")),
            "bk-base": Architecture(levels=(half, half, half), bottom=Bottom(depth=1, mid="attention")),
            "bk-small": Architecture(levels=(half, half, half), bottom=Bottom(depth=1, mid=None)),
            "bk-tiny": Architecture(levels=(half, half, half), bottom=Bottom(depth=None, mid=None)),
        }

    def _check_count(self, n: int) -> None:
        if not 0 <= n <= len(self):
            raise InputError(f"0 <= n <= {len(self)} distinct members can be drawn from {self.name}, but n = {n}")


def search_space(name: str, backbone: Backbone | None = None) -> SearchSpace:
    """The space called `name`, on its own backbone or a given one; unknown names raise `InputError`."""
    if name not in SPACES:
        raise InputError(f"space must be one of {', '.join(SPACES)}, but got {name!r}; did you mean {nearest(name, SPACES)!r}?")
    if backbone is None:
        backbone = TINY if name == "tiny" else SD14
    levels = _level_options(free_bits=name != "sd14-blocks")
    bottoms = _bottom_options(backbone)
    level0, level1, level2, bottom = UNIT_NAMES
    return SearchSpace(
        name, backbone, (Unit(level0, levels), Unit(level1, levels), Unit(level2, levels), Unit(bottom, bottoms))
    )


def _level(depth: int) -> Level:
    return Level.model_validate({"depth": depth, "down_attn": (True,) * depth, "up_attn": (True,) * (depth + 1)})


def _level_options(*, free_bits: bool) -> tuple[Level, ...]:
    def sides(length: int) -> list[tuple[bool, ...]]:
        return [bits for bits in product((False, True), repeat=length) if free_bits or len(set(bits)) == 1]

    return tuple(
        Level.model_validate({"depth": depth, "down_attn": down, "up_attn": up})
        for depth in (1, 2)
        for down in sides(depth)
        for up in sides(depth + 1)
    )


def _bottom_options(backbone: Backbone) -> tuple[Bottom, ...]:
    equal = backbone.block_out_channels[2] == backbone.block_out_channels[3]
    pairs = [(None, mid) for mid in (None, "resnet")]
    pairs += [(depth, mid) for depth in (0, 1, 2) if depth or equal for mid in (None, "resnet", "attention")]
    return tuple(Bottom.model_validate({"depth": depth, "mid": mid}) for depth, mid in pairs)
