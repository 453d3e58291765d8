"""Draw docs/rooms.svg: the rooms of both packages by layer, and who really imports whom.

python scripts/draw_rooms.py

Layers come from the contracts in pyproject.toml, arrows from the imports of the code, also of types
alone; the more modules of one room import the other, the thicker. Arrows to the single modules of
the ground floor, which all may use, are left out. A test asks for a new picture when rooms change.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp

from sdsearch.files import write_atomic

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "rooms.svg"
PACKAGES = ("sdsearch", "sdsearch_eval")
BOX, GAP, ROW, LEFT, TOP = 104, 26, 92, 24, 56
STYLE = """
.r{font:13px system-ui,sans-serif;color-scheme:light dark}.r text{fill:#222}
.r-page{fill:#fff}.r-band{fill:#f2f3f5}.r-box{fill:#dfe7f1;stroke:#35618f}
.r-arrow{fill:none;stroke:#35618f;stroke-opacity:.38}.r .r-title{font-size:16px;font-weight:600}
.r-box:hover{fill:#b9cde6}
@media (prefers-color-scheme:dark){.r text{fill:#e8eaed}.r-page{fill:#17191c}.r-band{fill:#23262a}
.r-box{fill:#27384c;stroke:#8ab4f8}.r-arrow{stroke:#8ab4f8}}
"""


@dataclass(frozen=True)
class House:
    """The rooms of a package: layers from the top, and arrows with the number of importers."""

    package: str
    layers: tuple[tuple[str, ...], ...]
    arrows: Counter[tuple[str, str]]


def read_layers() -> dict[str, tuple[tuple[str, ...], ...]]:
    """The layers of each package, top first, as the contracts say them."""
    said = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = said["tool"]["importlinter"]["contracts"]
    return {
        contract["containers"][0]: tuple(
            tuple(layer.replace("|", ":").replace(" ", "").split(":"))
            for layer in contract["layers"]
        )
        for contract in contracts
        if contract["type"] == "layers"
    }


def read_houses() -> list[House]:
    """Both packages with their real imports."""
    graph, layers = grimp.build_graph(*PACKAGES, cache_dir=None), read_layers()
    houses = []
    for package in PACKAGES:
        arrows: Counter[tuple[str, str]] = Counter()
        for module in graph.modules:
            parts = module.split(".")
            if parts[0] != package or len(parts) < 2:
                continue
            wanted = {
                other.split(".")[1]
                for other in graph.find_modules_directly_imported_by(module)
                if other.startswith(f"{package}.")
            }
            arrows.update((parts[1], room) for room in wanted - {parts[1]})
        houses.append(House(package, layers[package], arrows))
    return houses


def draw_house(house: House, top: float) -> tuple[list[str], float]:
    """The SVG of a house from `top` downwards, and where it ends."""
    widest = max(len(layer) for layer in house.layers)
    width = widest * (BOX + GAP)
    place: dict[str, tuple[float, float]] = {}
    bands, boxes = [], []
    for number, layer in enumerate(house.layers):
        y = top + TOP + number * ROW
        bands.append(f'<rect class="r-band" x="{LEFT - 12}" y="{y - 14}" width="{width + 24}" ')
        bands[-1] += 'height="62" rx="8"/>'
        share = width / len(layer)
        shift = (number % 2) * GAP if len(layer) == 1 else 0  # or arrows would hide in a column
        for column, room in enumerate(layer):
            place[room] = LEFT + (column + 0.5) * share - BOX / 2 + shift, y
    for room, (x, y) in place.items():
        uses = sorted(f"{to} ({count})" for (by, to), count in house.arrows.items() if by == room)
        said = f"{room} imports {', '.join(uses) or 'no other room'}"
        boxes.append(
            f'<g><title>{escape(said)}</title><rect class="r-box" x="{x:g}" y="{y:g}" '
            f'width="{BOX}" height="34" rx="6"/><text x="{x + BOX / 2:g}" y="{y + 22:g}" '
            f'text-anchor="middle">{escape(room)}</text></g>'
        )
    arrows = []
    for (source, target), count in sorted(house.arrows.items()):
        if source in place and target in place and is_room(house, target):
            (x1, y1), (x2, y2) = place[source], place[target]
            x1, y1, x2 = x1 + BOX / 2, y1 + 34, x2 + BOX / 2
            bend = (y2 - y1) / 2
            arrows.append(
                f'<path class="r-arrow" stroke-width="{min(0.8 + count / 3, 4):.1f}" d="M{x1:g} '
                f'{y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"/>'
            )
    title = f'<text class="r-title" x="{LEFT - 12}" y="{top + 24:g}">{house.package}</text>'
    return [title, *bands, *arrows, *boxes], top + TOP + len(house.layers) * ROW


def is_room(house: House, name: str) -> bool:
    """Whether a layer's part is a room, not a single module."""
    home = ROOT / ("eval/" if house.package == "sdsearch_eval" else "") / house.package
    return (home / name).is_dir()


def draw_rooms() -> str:
    """Both houses, one above the other."""
    houses, parts, top = read_houses(), list[str](), 8.0
    for house in houses:
        drawn, top = draw_house(house, top)
        parts += drawn
    widest = max(len(layer) for house in houses for layer in house.layers)
    width = 2 * LEFT + widest * (BOX + GAP)
    lines = "\n".join(parts)  # a line each, so that changes of it merge
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="r" viewBox="0 0 {width} {top:g}" '
        'role="img" aria-label="the rooms of sdsearch and of its harness by layer">'
        f'<style>{STYLE}</style><rect class="r-page" width="{width}" height="{top:g}"/>'
        f"{lines}</svg>\n"
    )


if __name__ == "__main__":
    write_atomic(PICTURE, draw_rooms())
    print(PICTURE.relative_to(ROOT))
