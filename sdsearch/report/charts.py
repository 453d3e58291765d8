"""Geometry of the report's charts: data in, positions in SVG units out; the template draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 440.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 48.0, 10.0, 12.0, 40.0


@dataclass(frozen=True, slots=True)
class Point:
    """One measured architecture; x and y are data, `series` decides its colour and shape."""

    x: float
    y: float
    series: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A point at its position on the canvas."""

    cx: float
    cy: float
    series: str
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A position along an axis and its label."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Scatter:
    """A scatter plot ready to draw.

    `limit` is the position of a vertical line, if any; `front` the corners of the staircase below
    which no point lies: nothing is lower in y with as little x.
    """

    marks: tuple[Mark, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    limit: float | None
    front: tuple[tuple[float, float], ...]
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def scatter(points: Sequence[Point], limit: float | None = None) -> Scatter | None:
    """Lay out points (and a vertical line at x = `limit`); None without points."""
    if not points:
        return None
    xs = [point.x for point in points] + ([limit] if limit is not None else [])
    x_low, x_high = _padded(xs)
    y_low, y_high = _padded([point.y for point in points])

    def across(x: float) -> float:
        return round(_LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - _LEFT - _RIGHT), 1)

    def down(y: float) -> float:
        share = (y - y_low) / (y_high - y_low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    return Scatter(
        marks=tuple(Mark(across(one.x), down(one.y), one.series, one.text) for one in points),
        x_ticks=tuple(Tick(across(x), f"{x:g}") for x in nice_ticks(x_low, x_high)),
        y_ticks=tuple(Tick(down(y), f"{y:g}") for y in nice_ticks(y_low, y_high)),
        limit=None if limit is None else across(limit),
        front=tuple((across(x), down(y)) for x, y in lower_front(points)),
    )


def lower_front(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Corners (x, y) of the staircase through the points that none beats in both, x ascending."""
    corners: list[tuple[float, float]] = []
    for point in sorted(points, key=lambda point: (point.x, point.y)):
        if not corners or point.y < corners[-1][1]:
            if corners:
                corners.append((point.x, corners[-1][1]))
            corners.append((point.x, point.y))
    return corners


def nice_ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers inside [low, high]; low < high must hold."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = (high - low) * 0.06 or abs(high) * 0.06 or 1.0
    return low - margin, high + margin
