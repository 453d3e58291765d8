"""What stands in a scene: houses, trees, boats and balloons as lists of coloured shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Colour = tuple[float, float, float]


class Light(NamedTuple):
    """One time of day: its words, the sky from zenith to horizon, and the light on things."""

    words: str
    zenith: Colour
    horizon: Colour
    ambient: Colour
    disc: Colour | None
    lamps: bool


PAINTS: dict[str, Colour] = {
    "red": (200, 52, 44),
    "blue": (58, 98, 200),
    "yellow": (234, 202, 70),
    "white": (240, 240, 236),
    "purple": (140, 70, 165),
}


class Shape(NamedTuple):
    """A filled polygon or ellipse in pixels of the supersampled canvas."""

    kind: Literal["polygon", "ellipse"]
    points: list[tuple[float, float]]
    colour: Colour


def place_objects(
    rng: np.random.Generator, width: int, horizon: float, light: Light, ground: str
) -> dict[str, list[Shape]]:
    """Objects back to front by name; on a lake they stand on the far shore, to be mirrored."""
    lake = ground == "a lake"
    objects: dict[str, list[Shape]] = {}
    paints = list(PAINTS)
    if rng.random() < 0.35:
        name = paints[rng.integers(len(paints))]
        objects[f"a {name} balloon"] = _balloon(rng, width, lit(PAINTS[name], light))
    kind = ("pine trees", "leafy trees", "")[rng.integers(3)]
    if kind:
        shapes: list[Shape] = []
        for _ in range(int(rng.integers(1, 5))):
            base = horizon if lake else horizon + rng.uniform(0.02, 0.14) * width
            shapes += (_pine if kind == "pine trees" else _leafy)(rng, width, base, light)
        objects[kind] = shapes
    if rng.random() < 0.75:
        name = paints[rng.integers(len(paints))]
        base = horizon if lake else horizon + rng.uniform(0.04, 0.2) * width
        objects[f"a {name} house"] = _house(rng, width, base, PAINTS[name], light)
    if lake and rng.random() < 0.5:
        name = paints[rng.integers(len(paints))]
        objects[f"a {name} boat"] = _boat(rng, width, horizon, lit(PAINTS[name], light), light)
    return objects


def lit(colour: Colour, light: Light) -> Colour:
    """A colour as it looks in this light."""
    red, green, blue = (c * a for c, a in zip(colour, light.ambient, strict=True))
    return red, green, blue


def _balloon(rng: np.random.Generator, width: int, colour: Colour) -> list[Shape]:
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.12, 0.26) * width
    r = rng.uniform(0.08, 0.12) * width
    dark: Colour = (colour[0] * 0.7, colour[1] * 0.7, colour[2] * 0.7)
    return [
        Shape(
            "polygon",
            [(x - r * 0.7, y + r * 0.7), (x + r * 0.7, y + r * 0.7), (x, y + r * 1.7)],
            dark,
        ),
        Shape("ellipse", [(x - r, y - r), (x + r, y + r)], colour),
        Shape("ellipse", [(x - r * 0.4, y - r), (x + r * 0.4, y + r)], dark),
        Shape(
            "polygon",
            [
                (x - r * 0.25, y + r * 1.55),
                (x + r * 0.25, y + r * 1.55),
                (x + r * 0.2, y + r * 2),
                (x - r * 0.2, y + r * 2),
            ],
            (80, 56, 36),
        ),
    ]


def _house(
    rng: np.random.Generator, width: int, base: float, colour: Colour, light: Light
) -> list[Shape]:
    x = rng.uniform(0.18, 0.82) * width
    half = rng.uniform(0.1, 0.15) * width
    top = base - half * 1.3
    roof: Colour = (96, 62, 54) if colour[0] < 220 else (120, 70, 60)
    pane: Colour = (255, 232, 130) if light.lamps else lit((140, 180, 215), light)
    painted = lit(colour, light)
    return [
        _box(x - half, top, x + half, base, painted),
        Shape(
            "polygon",
            [(x - half * 1.25, top), (x + half * 1.25, top), (x, top - half)],
            lit(roof, light),
        ),
        _box(x - half * 0.2, base - half * 0.75, x + half * 0.2, base, lit((70, 46, 32), light)),
        _box(x - half * 0.75, top + half * 0.3, x - half * 0.38, top + half * 0.72, pane),
        _box(x + half * 0.38, top + half * 0.3, x + half * 0.75, top + half * 0.72, pane),
    ]


def _box(left: float, top: float, right: float, bottom: float, colour: Colour) -> Shape:
    return Shape("polygon", [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _pine(rng: np.random.Generator, width: int, base: float, light: Light) -> list[Shape]:
    x, height = rng.uniform(0, width), rng.uniform(0.18, 0.32) * width
    half = height * 0.26
    shapes = [
        _box(x - half * 0.14, base - height * 0.16, x + half * 0.14, base, lit((84, 58, 38), light))
    ]
    for tier in range(3):
        low = base - height * (0.1 + 0.27 * tier)
        reach = half * (1 - 0.24 * tier)
        green = lit((26, 76 + 16 * tier, 44), light)
        shapes.append(
            Shape("polygon", [(x - reach, low), (x + reach, low), (x, low - height * 0.4)], green)
        )
    return shapes


def _leafy(rng: np.random.Generator, width: int, base: float, light: Light) -> list[Shape]:
    x, height = rng.uniform(0, width), rng.uniform(0.16, 0.28) * width
    r = height * 0.34
    shapes = [_box(x - r * 0.16, base - height * 0.5, x + r * 0.16, base, lit((96, 66, 42), light))]
    for dx, dy, shade in ((-0.45, 0.25, 0.85), (0.45, 0.25, 0.92), (0.0, -0.25, 1.0)):
        cx, cy = x + dx * r, base - height * 0.62 + dy * r
        green = lit((92 * shade, 150 * shade, 48 * shade), light)
        shapes.append(
            Shape("ellipse", [(cx - r * 0.75, cy - r * 0.7), (cx + r * 0.75, cy + r * 0.7)], green)
        )
    return shapes


def _boat(
    rng: np.random.Generator, width: int, horizon: float, colour: Colour, light: Light
) -> list[Shape]:
    x, y = rng.uniform(0.15, 0.85) * width, horizon + rng.uniform(0.14, 0.26) * width
    r = rng.uniform(0.08, 0.12) * width
    hull = lit((92, 60, 40), light)
    return [
        Shape(
            "polygon",
            [(x - r, y), (x + r, y), (x + r * 0.65, y + r * 0.45), (x - r * 0.65, y + r * 0.45)],
            hull,
        ),
        Shape(
            "polygon",
            [
                (x - r * 0.05, y - r * 0.12),
                (x - r * 0.05, y - r * 1.8),
                (x + r * 0.85, y - r * 0.12),
            ],
            colour,
        ),
        Shape(
            "polygon",
            [
                (x - r * 0.15, y - r * 0.12),
                (x - r * 0.15, y - r * 1.4),
                (x - r * 0.7, y - r * 0.12),
            ],
            (colour[0] * 0.8, colour[1] * 0.8, colour[2] * 0.8),
        ),
    ]
