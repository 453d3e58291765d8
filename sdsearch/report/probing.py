"""What a probe found: the unpruned net with every block's error, MACs and time, and in words."""

from __future__ import annotations

from math import floor, log10, sqrt
from typing import TYPE_CHECKING

from sdsearch.design import LEAST_ERROR
from sdsearch.drawing import draw_unet
from sdsearch.unet import SLOTS, UNPRUNED, unet_cost

if TYPE_CHECKING:
    from sdsearch.design import Probe, Removal
    from sdsearch.drawing import Drawing
    from sdsearch.space import SearchSpace

_SHOWN = 5


def draw_probe(probe: Probe, space: SearchSpace) -> Drawing:
    """The unpruned net as SVG, brighter boxes for what changes the output more.

    Below a box stand the change of the output without it (root mean square, as a share of the
    output), and its MACs and milliseconds.
    """
    errors, costs = probe.slot_errors(space), unet_cost(UNPRUNED, space.backbone).slots
    said, below = {}, {}
    for slot, cost in zip(SLOTS, costs, strict=True):
        name, macs = slot.name, _short(cost.macs.total)
        change = say_change(errors[name]) if name in errors else "kept"
        time = f"{_round(probe.milliseconds[name])} ms"
        below[name] = (change, f"{macs} MACs", time)
        said[name] = f"{time}; output changes by {change} without it" if name in errors else time
    coloured = {name: log10(error + LEAST_ERROR) for name, error in errors.items()}
    ends = say_change(min(errors.values())), say_change(max(errors.values()))
    title = "Without each block: change of the output. Its MACs and time"
    return draw_unet(UNPRUNED, space.backbone, coloured, title, said, below, ends)


def describe_probe(probe: Probe, space: SearchSpace) -> list[str]:
    """The findings in words: what can go, what must stay, and how levels share the errors."""
    ranked = sorted(probe.removals, key=probe.error)
    total = {unit.name: 0.0 for unit in space.units}
    for removal in probe.removals:
        total[removal.unit] = max(total[removal.unit], probe.error(removal))
    whole = sum(total.values()) or 1.0
    shares = ", ".join(f"{name} {error / whole:.0%}" for name, error in total.items())
    return [
        f"{len(ranked)} removals, {probe.samples} samples at timesteps "
        f"{', '.join(map(str, probe.timesteps))}: how far the output changes without any training",
        *(f"least: {_say(removal, probe)}" for removal in ranked[:_SHOWN]),
        *(f"most: {_say(removal, probe)}" for removal in ranked[::-1][:_SHOWN]),
        f"the worst removals of the levels share the squared errors so: {shares}",
    ]


def say_change(error: float) -> str:
    """A relative squared error as the root mean square change of the output.

    >>> say_change(0.0025), say_change(1.44)
    ('5.0 %', '120 %')
    """
    return f"{_round(100 * sqrt(error))} %"


def _round(number: float) -> str:
    """Two digits that mean something, without an exponent."""
    digits = max(0, 1 - floor(log10(number))) if number > 0 else 0
    return f"{number:.{digits}f}"


def _short(count: int) -> str:
    """A count in five letters at most.

    >>> _short(7_080_000), _short(3_400_000_000)
    ('7.1M', '3.4G')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{_round(count / size)}{unit}"
    return str(count)


def _say(removal: Removal, probe: Probe) -> str:
    return (
        f"{say_change(probe.error(removal))} without {', '.join(removal.lost) or removal.words}"
        f" ({removal.unit})"
    )
