"""Where what comes with sdsearch lies: the tiny pipeline and its label table, and the presets."""

from __future__ import annotations

from pathlib import Path

from sdsearch.errors import InputError

TINY_TEACHER = "worlds/fill-16"
"""The pipeline that "tiny" means, one of the worlds of docs/worlds.md."""
TINY_TABLE = "worlds/labels/fill-16.jsonl"
"""The labels of that world."""
TINY_DESIGNS = "worlds/labels/fill-16-demo.jsonl"
"""Labels of the sample that a study draws by default, and of what the demo builds; apart, since
replays draw from and pick among `TINY_TABLE` alone."""
TINY_PROBE = "worlds/labels/fill-16-probe.json"
"""Its probe, for replays of its labels: `sdsearch init S`, `sdsearch probe S` make the same one."""
_PACKAGE = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """Return the path of the asset `name` (`TINY_TEACHER`, `TINY_TABLE`).

    Looks into the installed package first and into the checkout's assets/ folder second.
    Raises `InputError` when neither has it.
    """
    places = (_PACKAGE / "_assets" / name, _PACKAGE.parent / "assets" / name)
    for place in places:
        if place.exists():
            return place
    raise InputError(
        f"the asset {name!r} must be at {places[0]} or {places[1]}, but is at neither; "
        "reinstall sdsearch or work from a complete checkout"
    )


def preset_files() -> dict[str, Path]:
    """The presets that come with sdsearch, TOML files by their names, such as "coco-30k"."""
    return {file.stem: file for file in sorted((_PACKAGE / "presets").glob("*.toml"))}
