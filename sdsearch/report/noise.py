"""Noise of a study: how far values and targets move when they are measured again, by quality."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, stdev
from typing import TYPE_CHECKING

from sdsearch.labels import Measurement
from sdsearch.stats import fit_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sdsearch.labels import Label, Target
    from sdsearch.stats import Noise


@dataclass(frozen=True, slots=True)
class MeasuredNoise:
    """Noise of a column and of the target, with the values at which a table tells it.

    Attributes:
        column: the column.
        of_value: its noise by its value.
        of_target: that of the target, by the target.
        values: the column of the evaluated architectures, ascending.
        targets: their targets, ascending.
    """

    column: str
    of_value: Noise
    of_target: Noise | None
    values: tuple[float, ...]
    targets: tuple[float, ...]

    @property
    def target_spread(self) -> float | None:
        """Standard deviation of the target over the evaluated architectures."""
        return stdev(self.targets) if len(self.targets) >= 2 else None

    def lines(self) -> list[str]:
        """What a table says of it."""
        count = self.of_value.count
        many = f"{count} architecture{'' if count == 1 else 's'}"
        source = (
            f"standard deviation over label seeds, by {many}"
            if self.of_value.source == "seeds"
            else f"standard errors over samples of {many}: none is labelled under several seeds"
        )
        said = [f"noise of {self.column}: {_tell(self.of_value, self.values)} ({source})"]
        spread, noise = self.target_spread, self.of_target
        if spread is not None and noise is not None:
            middle = median(self.targets)
            said.append(
                f"target: spread {spread:.3f} is {spread / noise.at(middle):.1f} times its noise "
                f"at the median {middle:.2f}; noise {_tell(noise, self.targets, 3)}"
            )
        return said


def measure_noise(
    labels: Iterable[Label], evaluated: Iterable[Label], column: str, target: Target
) -> MeasuredNoise | None:
    """Fit the noise of labels of all seeds; None where none has an error or a second seed."""
    whole = [label for label in labels if label.status == "ok"]
    shown = [label for label in evaluated if label.status == "ok"] or whole
    of_value = _noise_of(whole, lambda label: label.scalar(column), lambda x: _error(x, column))
    if of_value is None:
        return None
    return MeasuredNoise(
        column=column,
        of_value=of_value,
        of_target=_noise_of(whole, target.evaluate, target.standard_error),
        values=tuple(sorted(label.scalar(column) for label in shown)),
        targets=tuple(sorted(map(target.evaluate, shown))),
    )


def _noise_of(
    labels: list[Label], value: Callable[[Label], float], error: Callable[[Label], float | None]
) -> Noise | None:
    repeats: dict[str, list[float]] = {}
    for label in labels:
        repeats.setdefault(label.arch_key, []).append(value(label))
    return fit_noise(list(repeats.values()), [(value(label), error(label)) for label in labels])


def _error(label: Label, column: str) -> float | None:
    found = label.values[column]
    return found.se if isinstance(found, Measurement) else None


def _tell(noise: Noise, values: tuple[float, ...], digits: int = 2) -> str:
    """The noise at the lowest, the middle and the highest value, or the one number there is."""
    if not noise.slope:
        return f"{noise.at(values[0]):.{digits}f} at every value, pooled"
    places = dict.fromkeys((values[0], median(values), values[-1]))
    return ", ".join(f"{noise.at(place):.{digits}f} at {place:.2f}" for place in places)
