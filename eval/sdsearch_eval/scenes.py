"""The `scenes` dataset: landscapes that the project renders itself, with captions and object masks.

One 32-bit seed gives one scene, for ever: picture, caption in words and the exact mask of every
object. What stands where is drawn independently of what surrounds it, so the pixels around a hole
rarely tell what is inside: the caption does. Splits are disjoint ranges of seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from numpy.typing import NDArray

RENDERER_VERSION = 1
"""Part of every manifest hash: raise it whenever a pixel or a word of any scene changes."""

Split = Literal["train", "val", "test"]
SPLIT_START: dict[Split, int] = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
SUPERSAMPLING = 2

Colour = tuple[float, float, float]


class Light(NamedTuple):
    """One time of day: its words, the sky from zenith to horizon, and the light on things."""

    words: str
    zenith: Colour
    horizon: Colour
    ambient: Colour
    disc: Colour | None
    lamps: bool


class Ridge(NamedTuple):
    """One kind of skyline."""

    words: str
    colour: Colour
    height: float
    roughness: float
    snow: bool


LIGHTS = (
    Light("at noon", (70, 135, 225), (190, 222, 250), (1.0, 1.0, 1.0), (255, 250, 215), False),
    Light("at sunset", (225, 90, 70), (255, 205, 120), (1.0, 0.75, 0.6), (255, 240, 170), True),
    Light("at night", (14, 18, 52), (60, 64, 118), (0.44, 0.47, 0.66), (235, 235, 245), True),
    Light("under a grey sky", (140, 150, 160), (205, 210, 215), (0.8, 0.82, 0.85), None, False),
    Light("at dawn", (150, 140, 215), (255, 215, 205), (0.9, 0.78, 0.85), (255, 235, 205), False),
)
RIDGES = (
    Ridge("snowy mountains", (96, 106, 130), 0.30, 0.016, True),
    Ridge("rocky mountains", (134, 112, 96), 0.27, 0.018, False),
    Ridge("green hills", (84, 138, 72), 0.15, 0.003, False),
    Ridge("sand dunes", (208, 168, 108), 0.13, 0.002, False),
)
GROUNDS: dict[str, Colour] = {
    "a lake": (58, 106, 150),
    "a meadow": (98, 156, 66),
    "a wheat field": (206, 176, 84),
    "a snow field": (226, 232, 240),
}
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


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (H x W x 3, uint8, sRGB), its caption and one H x W bool mask per object."""

    image: NDArray[np.uint8]
    caption: str
    object_masks: dict[str, NDArray[np.bool_]]


def render_scene(seed: int, size: int = 64) -> Scene:
    """Render the scene of a 32-bit `seed` at `size` x `size` pixels."""
    rng = np.random.default_rng(seed)
    width = size * SUPERSAMPLING
    light = LIGHTS[rng.integers(len(LIGHTS))]
    ridge = RIDGES[rng.integers(len(RIDGES))]
    ground = list(GROUNDS)[rng.integers(len(GROUNDS))]
    horizon = rng.uniform(0.5, 0.64) * width
    canvas = _paint_sky(rng, width, light)
    _paint_ridges(rng, canvas, ridge, light, horizon)
    objects = _place_objects(rng, width, horizon, light, ground)
    if ground == "a lake":
        _draw_objects(canvas, {n: s for n, s in objects.items() if _is_reflected(n)})
        _paint_lake(rng, canvas, light, horizon)
        _draw_objects(canvas, {n: s for n, s in objects.items() if not _is_reflected(n)})
    else:
        _paint_land(rng, canvas, ground, light, horizon)
        _draw_objects(canvas, objects)
    image = canvas.resize((size, size), Image.Resampling.LANCZOS)
    masks = {name: _object_mask(shapes, width, size) for name, shapes in objects.items()}
    return Scene(np.asarray(image), _caption(list(objects), ground, light, ridge), masks)


def split_seed(split: Split, number: int) -> int:
    """The scene seed of the `number`-th scene of a split; splits never share one."""
    if not 0 <= number < 1_000_000_000:
        raise ValueError(f"0 <= number < 1e9 must hold for a scene of a split, but got {number}")
    return SPLIT_START[split] + number


def _caption(objects: list[str], ground: str, light: Light, ridge: Ridge) -> str:
    standing = [name for name in reversed(objects) if "balloon" not in name]
    flying = [name for name in objects if "balloon" in name]
    place = {"a lake": "by a lake", "a meadow": "in a meadow", "a wheat field": "in a wheat field"}
    where = place.get(ground, "in a snow field")
    scene = f"{' and '.join(standing)} {where}" if standing else ground
    sky = f", {flying[0]} in the sky" if flying else ""
    return f"{scene} {light.words}, {ridge.words}{sky}"


def _smooth_noise(rng: np.random.Generator, width: int, cells: tuple[int, int]) -> NDArray[Any]:
    grid = rng.normal(0.0, 1.0, cells).astype(np.float32)
    field = Image.fromarray(grid).resize((width, width), Image.Resampling.BICUBIC)
    return np.asarray(field)


def _lit(colour: Colour, light: Light) -> Colour:
    red, green, blue = (c * a for c, a in zip(colour, light.ambient, strict=True))
    return red, green, blue


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (int(min(max(c, 0), 255)) for c in colour)
    return red, green, blue


def _paint_sky(rng: np.random.Generator, width: int, light: Light) -> Image.Image:
    down = np.linspace(0, 1.6, width).clip(0, 1)[:, None, None]
    shift = rng.normal(0, 5, 3)
    sky = np.array(light.zenith) * (1 - down) + np.array(light.horizon) * down + shift
    sky = np.repeat(sky, width, axis=1)
    if rng.random() < 0.6:
        cover = _smooth_noise(rng, width, (7, 4)).clip(0.15, 1.4) - 0.15
        cloud = np.array(_lit((250, 248, 246), light)) * 0.6 + np.array(light.horizon) * 0.4
        opacity = (0.55 * cover * (1 - 0.6 * down[..., 0]))[..., None].clip(0, 0.8)
        sky = sky * (1 - opacity) + cloud * opacity
    canvas = Image.fromarray(sky.clip(0, 255).astype(np.uint8))
    if light.disc is not None:
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.08, 0.3) * width
        radius = rng.uniform(0.045, 0.08) * width
        box = (x - radius, y - radius, x + radius, y + radius)
        ImageDraw.Draw(canvas).ellipse(box, fill=_rgb(light.disc))
    return canvas


def _paint_ridges(
    rng: np.random.Generator, canvas: Image.Image, ridge: Ridge, light: Light, horizon: float
) -> None:
    width = canvas.width
    layers = int(rng.integers(1, 4))
    shade = 1 + 0.10 * _smooth_noise(rng, width, (9, 16))
    pixels = np.asarray(canvas).astype(np.float32)
    rows = np.arange(width)[:, None]
    for layer in range(layers):
        near = (layer + 1) / layers
        large = np.interp(np.linspace(0, 5, width), np.arange(6), rng.uniform(0.1, 1, 6))
        small = np.interp(np.linspace(0, 31, width), np.arange(32), rng.normal(0, 1, 32))
        height = ridge.height * width * (1.15 - 0.55 * near)
        top = horizon - height * large - ridge.roughness * width * small
        haze = 0.45 * (1 - near)
        stone = np.array(_lit(ridge.colour, light)) * (1 - haze) + np.array(light.horizon) * haze
        body = (rows >= top) & (rows < horizon + 1)
        pixels[body] = (stone * shade[..., None])[body]
        if ridge.snow and layer == 0:
            depth = 0.06 * width * (0.6 + 0.4 * np.sin(np.arange(width) * 0.55))
            cap = body & (rows < np.minimum(top + depth, horizon - 0.08 * width))
            pixels[cap] = (np.array(_lit((246, 248, 255), light)) * shade[..., None])[cap]
    canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _paint_land(
    rng: np.random.Generator, canvas: Image.Image, ground: str, light: Light, horizon: float
) -> None:
    width = canvas.width
    fine = _smooth_noise(rng, width, (24, 12))
    coarse = _smooth_noise(rng, width, (5, 3))
    amount = 0.03 if ground == "a snow field" else 0.09
    texture = 1 + amount * fine + 0.5 * amount * coarse
    if ground == "a wheat field":
        rows = np.sin(np.linspace(0, 1, width) ** 1.7 * 60)[:, None]
        texture = texture + 0.07 * rows
    edge = horizon + rng.uniform(-0.02, 0.03) * width * np.sin(np.linspace(0, 3, width))
    body = np.arange(width)[:, None] >= edge
    pixels = np.asarray(canvas).astype(np.float32)
    land = np.array(_lit(GROUNDS[ground], light)) * texture[..., None]
    pixels[body] = land[body]
    canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _paint_lake(
    rng: np.random.Generator, canvas: Image.Image, light: Light, horizon: float
) -> None:
    width, shore = canvas.width, int(horizon)
    pixels = np.asarray(canvas).astype(np.float32)
    depth = np.arange(width - shore)
    ripple = (1.5 * np.sin(depth * 0.9 + rng.uniform(0, 6)) * depth / width * 2).astype(int)
    mirrored = pixels[(shore - 1 - depth).clip(0)]
    columns = (np.arange(width)[None, :] + ripple[:, None]).clip(0, width - 1)
    mirrored = np.take_along_axis(mirrored, columns[..., None], axis=1)
    water = np.array(_lit(GROUNDS["a lake"], light))
    mix = np.linspace(0.25, 0.6, width - shore)[:, None, None]
    glitter = 1 + 0.06 * _smooth_noise(rng, width, (28, 6))[shore:]
    pixels[shore:] = (mirrored * (1 - mix) + water * mix) * glitter[..., None]
    pixels[shore - 1 : shore + 1] = np.array(_lit((120, 112, 84), light))
    canvas.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))


def _is_reflected(name: str) -> bool:
    return "boat" not in name and "balloon" not in name


def _draw_objects(canvas: Image.Image, objects: dict[str, list[Shape]]) -> None:
    draw = ImageDraw.Draw(canvas)
    for shape in (shape for shapes in objects.values() for shape in shapes):
        if shape.kind == "polygon":
            draw.polygon(shape.points, fill=_rgb(shape.colour))
        else:
            draw.ellipse([shape.points[0], shape.points[1]], fill=_rgb(shape.colour))


def _object_mask(shapes: list[Shape], width: int, size: int) -> NDArray[np.bool_]:
    covered = Image.new("RGB", (width, width))
    _draw_objects(covered, {"": [shape._replace(colour=(255, 255, 255)) for shape in shapes]})
    return np.asarray(covered.convert("L").resize((size, size), Image.Resampling.BOX)) >= 64


def _place_objects(
    rng: np.random.Generator, width: int, horizon: float, light: Light, ground: str
) -> dict[str, list[Shape]]:
    """Objects back to front by name; on a lake they stand on the far shore, to be mirrored."""
    lake = ground == "a lake"
    objects: dict[str, list[Shape]] = {}
    paints = list(PAINTS)
    if rng.random() < 0.35:
        name = paints[rng.integers(len(paints))]
        objects[f"a {name} balloon"] = _balloon(rng, width, _lit(PAINTS[name], light))
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
        objects[f"a {name} boat"] = _boat(rng, width, horizon, _lit(PAINTS[name], light), light)
    return objects


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
    pane: Colour = (255, 232, 130) if light.lamps else _lit((140, 180, 215), light)
    lit = _lit(colour, light)
    return [
        _box(x - half, top, x + half, base, lit),
        Shape(
            "polygon",
            [(x - half * 1.25, top), (x + half * 1.25, top), (x, top - half)],
            _lit(roof, light),
        ),
        _box(x - half * 0.2, base - half * 0.75, x + half * 0.2, base, _lit((70, 46, 32), light)),
        _box(x - half * 0.75, top + half * 0.3, x - half * 0.38, top + half * 0.72, pane),
        _box(x + half * 0.38, top + half * 0.3, x + half * 0.75, top + half * 0.72, pane),
    ]


def _box(left: float, top: float, right: float, bottom: float, colour: Colour) -> Shape:
    return Shape("polygon", [(left, top), (right, top), (right, bottom), (left, bottom)], colour)


def _pine(rng: np.random.Generator, width: int, base: float, light: Light) -> list[Shape]:
    x, height = rng.uniform(0, width), rng.uniform(0.18, 0.32) * width
    half = height * 0.26
    shapes = [
        _box(
            x - half * 0.14, base - height * 0.16, x + half * 0.14, base, _lit((84, 58, 38), light)
        )
    ]
    for tier in range(3):
        low = base - height * (0.1 + 0.27 * tier)
        reach = half * (1 - 0.24 * tier)
        green = _lit((26, 76 + 16 * tier, 44), light)
        shapes.append(
            Shape("polygon", [(x - reach, low), (x + reach, low), (x, low - height * 0.4)], green)
        )
    return shapes


def _leafy(rng: np.random.Generator, width: int, base: float, light: Light) -> list[Shape]:
    x, height = rng.uniform(0, width), rng.uniform(0.16, 0.28) * width
    r = height * 0.34
    shapes = [
        _box(x - r * 0.16, base - height * 0.5, x + r * 0.16, base, _lit((96, 66, 42), light))
    ]
    for dx, dy, shade in ((-0.45, 0.25, 0.85), (0.45, 0.25, 0.92), (0.0, -0.25, 1.0)):
        cx, cy = x + dx * r, base - height * 0.62 + dy * r
        green = _lit((92 * shade, 150 * shade, 48 * shade), light)
        shapes.append(
            Shape("ellipse", [(cx - r * 0.75, cy - r * 0.7), (cx + r * 0.75, cy + r * 0.7)], green)
        )
    return shapes


def _boat(
    rng: np.random.Generator, width: int, horizon: float, colour: Colour, light: Light
) -> list[Shape]:
    x, y = rng.uniform(0.15, 0.85) * width, horizon + rng.uniform(0.14, 0.26) * width
    r = rng.uniform(0.08, 0.12) * width
    hull = _lit((92, 60, 40), light)
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
