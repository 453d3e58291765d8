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

from sdsearch_eval.scenes.objects import Colour, Light, Shape, lit, place_objects

if TYPE_CHECKING:
    from numpy.typing import NDArray

RENDERER_VERSION = 1
"""Part of every manifest hash: raise it whenever a pixel or a word of any scene changes."""

Split = Literal["train", "val", "test"]
SPLIT_START: dict[Split, int] = {"train": 0, "val": 1_000_000_000, "test": 2_000_000_000}
SUPERSAMPLING = 2


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
    objects = place_objects(rng, width, horizon, light, ground)
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
        cloud = np.array(lit((250, 248, 246), light)) * 0.6 + np.array(light.horizon) * 0.4
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
        stone = np.array(lit(ridge.colour, light)) * (1 - haze) + np.array(light.horizon) * haze
        body = (rows >= top) & (rows < horizon + 1)
        pixels[body] = (stone * shade[..., None])[body]
        if ridge.snow and layer == 0:
            depth = 0.06 * width * (0.6 + 0.4 * np.sin(np.arange(width) * 0.55))
            cap = body & (rows < np.minimum(top + depth, horizon - 0.08 * width))
            pixels[cap] = (np.array(lit((246, 248, 255), light)) * shade[..., None])[cap]
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
    land = np.array(lit(GROUNDS[ground], light)) * texture[..., None]
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
    water = np.array(lit(GROUNDS["a lake"], light))
    mix = np.linspace(0.25, 0.6, width - shore)[:, None, None]
    glitter = 1 + 0.06 * _smooth_noise(rng, width, (28, 6))[shore:]
    pixels[shore:] = (mirrored * (1 - mix) + water * mix) * glitter[..., None]
    pixels[shore - 1 : shore + 1] = np.array(lit((120, 112, 84), light))
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
