"""SearchSpace: every member is a stock `UNet2DConditionModel` config, numbered by mixed radix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.errors import InputError, suggest
from sdsearch.space.units import Option, Unit, make_units, wide_widths
from sdsearch.unet import LEVELS, NAMED, SD14, TINY, Architecture, Backbone, read_architecture

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SPACES = ("sd14", "sd14-blocks", "sd14-wide", "tiny")


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

    def __repr__(self) -> str:
        return f"SearchSpace({self.name!r}, {len(self):,} architectures)"

    @property
    def radices(self) -> tuple[int, ...]:
        """Number of options of each unit."""
        return tuple(len(unit.options) for unit in self.units)

    @property
    def chooses_widths(self) -> bool:
        """Whether a unit has more than one width, so that slots depend on two units at once."""
        return any(len(set(unit.widths) - {None}) > 1 for unit in self.units)

    @cached_property
    def width_parts(self) -> tuple[tuple[tuple[NDArray[np.int64], ...], SearchSpace], ...]:
        """The space in parts of one width per level: each part's option numbers here, and itself.

        In a part, what a slot computes depends on the option of its own unit alone. A space that
        has no widths to choose is its only part.
        """
        if not self.chooses_widths:
            return ((tuple(np.arange(radix) for radix in self.radices), self),)
        parts = []
        for chosen in product(*(unit.by_width for unit in self.units)):
            first, second, third, bottom = (
                Unit(unit.name, tuple(unit.options[number] for number in numbers))
                for unit, numbers in zip(self.units, chosen, strict=True)
            )
            part = SearchSpace(self.name, self.backbone, (first, second, third, bottom))
            parts.append((tuple(np.array(numbers) for numbers in chosen), part))
        return tuple(parts)

    @cached_property
    def _option_numbers(self) -> tuple[dict[Option, int], ...]:
        return tuple({o: number for number, o in enumerate(unit.options)} for unit in self.units)

    def option_indices(self, arch: Architecture) -> tuple[int, ...]:
        """The four digits of a member; raises `InputError` with the reason where it is none."""
        reason = self.why_not(arch)
        if reason is not None:
            raise InputError(f"not a member of {self.name}: {reason}")
        chosen = zip(self._option_numbers, self._options(arch), strict=True)
        return tuple(numbers[option] for numbers, option in chosen)

    def index(self, arch: Architecture) -> int:
        """The number of a member, in [0, len(space))."""
        return int(self.indices(np.array([self.option_indices(arch)]))[0])

    def arch(self, index: int) -> Architecture:
        """The member of a number; raises `InputError` outside [0, len(space))."""
        if not 0 <= index < len(self):
            raise InputError(f"0 <= index < {len(self)} must hold in {self.name}, but got {index}")
        digits = self.digits(np.array([index]))[0]
        *levels, bottom = (u.options[digit] for u, digit in zip(self.units, digits, strict=True))
        widths = [option.width for option in (*levels, bottom)]
        widths[3] = widths[3] or widths[2]
        own = tuple(widths) != self.backbone.block_out_channels
        return Architecture.model_validate(
            {
                "levels": [level.blocks for level in levels],
                "bottom": bottom.blocks,
                "widths": widths if own else None,
            }
        )

    def _options(self, arch: Architecture) -> tuple[Option, ...]:
        widths = arch.widths or self.backbone.block_out_channels
        levels = (Option(level, width) for level, width in zip(arch.levels, widths, strict=False))
        return (*levels, Option(arch.bottom, widths[3] if arch.bottom.depth else None))

    def digits(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) member numbers -> (n, 4) option numbers."""
        # number = ((d0 * r1 + d1) * r2 + d2) * r3 + d3, with digits d and radices r of the units
        return np.stack(np.unravel_index(indices, self.radices), axis=1)

    def indices(self, digits: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n, 4) option numbers -> (n,) member numbers, the inverse of `digits`."""
        return np.asarray(np.ravel_multi_index(tuple(digits.T), self.radices), np.int64)

    def why_not(self, arch: Architecture) -> str | None:
        """Why `arch` is no member, in words, or None if it is one."""
        widths = self.backbone.block_out_channels
        if not arch.bottom.depth and widths[2] != widths[3]:
            bottom = "depth 0" if arch.bottom.depth == 0 else "without level 3"
            return (
                f"a bottom {bottom} needs equal widths at levels 2 and 3, "
                f"but they are {widths[2]} and {widths[3]}"
            )
        if arch.widths == widths:
            return f"widths {widths} are the backbone's own and must be left out"
        chosen = zip(self.units, self._option_numbers, self._options(arch), strict=True)
        for unit, numbers, option in chosen:
            if option in numbers:
                continue
            if option.width not in unit.widths:
                allowed = ", ".join(str(width) for width in unit.widths if width)
                return f"{unit.name} has width {option.width}, but must have one of {allowed}"
            return f"{unit.name} has no option ({option}) among its {len(unit.options)}"
        return None

    def __contains__(self, arch: object) -> bool:
        return isinstance(arch, Architecture) and self.why_not(arch) is None

    def contains_config(self, config: Mapping[str, Any]) -> Architecture | None:
        """The member that a stock `UNet2DConditionModel` config says, or None if it says none.

        The inverse of `unet_config`. `read_architecture` tells the reason where a config is no
        member of any space on this backbone.
        """
        try:
            arch = read_architecture(config, self.backbone)
        except InputError:
            return None
        return arch if self.why_not(arch) is None else None

    def sample(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """`n` distinct members, uniform; raises `InputError` if the space has fewer."""
        self._check_count(n, len(self))
        return [self.arch(int(i)) for i in rng.choice(len(self), size=n, replace=False)]

    def sample_stratified(self, n: int, rng: np.random.Generator) -> list[Architecture]:
        """`n` distinct members: every option of a unit appears floor or ceil(n / options) times.

        Raises:
            InputError: `n` is over a quarter of the space, where distinct rows are hard to find.
        """
        self._check_count(n, len(self) // 4)
        digits = np.stack([_balanced(n, radix, rng) for radix in self.radices], axis=1)
        while True:
            chosen, first = np.unique(self.indices(digits), return_index=True)
            if len(chosen) == n:
                return [self.arch(int(i)) for i in self.indices(digits)]
            # Shuffle one unit among the repeated rows and as many others: the balance stays.
            repeated = np.setdiff1d(np.arange(n), first)
            mixed = np.union1d(repeated, rng.integers(n, size=len(repeated)))
            unit = rng.integers(len(self.units))
            digits[mixed, unit] = rng.permutation(digits[mixed, unit])

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
        """The named members: the teacher and BK-SDM Base, Small and (widths allowing) Tiny."""
        return {name: arch for name, arch in NAMED.items() if self.why_not(arch) is None}

    def _check_count(self, n: int, most: int) -> None:
        if not 0 <= n <= most:
            raise InputError(
                f"0 <= n <= {most} members can be drawn this way from {self.name}, but n = {n}"
            )


def search_space(
    name: str, backbone: Backbone | None = None, *, resize_level_0: bool = False
) -> SearchSpace:
    """The space called `name`, on its own or a given backbone; unknown names raise `InputError`.

    `resize_level_0` gives level 0 of `sd14-wide` a choice of widths too. The frequencies of the
    time embedding then change in number, so that its input columns have to be resampled.
    """
    if name not in SPACES:
        raise InputError(
            f"space must be one of {', '.join(SPACES)}, but got {name!r}{suggest(name, SPACES)}"
        )
    if resize_level_0 and name != "sd14-wide":
        raise InputError(f"only sd14-wide has widths to choose, but the space is {name!r}")
    if backbone is None:
        backbone = TINY if name == "tiny" else SD14
    widths: list[tuple[int, ...]] = [(full,) for full in backbone.block_out_channels]
    if name == "sd14-wide":
        first = 0 if resize_level_0 else 1
        widths[first:] = [wide_widths(level, backbone) for level in range(first, LEVELS)]
    units = make_units(backbone, widths, free_bits=name != "sd14-blocks")
    return SearchSpace(name, backbone, units)


def _balanced(n: int, radix: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) option numbers below `radix`, each as often as any other, in random order."""
    rounds = [rng.permutation(radix) for _ in range(-(-n // radix))]
    return rng.permutation(np.concatenate([np.empty(0, np.int64), *rounds])[:n])
