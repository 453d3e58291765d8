"""Where what comes with sdsearch lies: the tiny pipeline and its label table, and the presets."""

from __future__ import annotations

from pathlib import Path

from sdsearch.errors import InputError

TINY_TABLE = "tiny-labels.jsonl"
"""The labels that come with the tiny teacher."""
TINY_DESIGNS = "tiny-designs.jsonl"
"""Labels of what the demo builds, apart: replays draw from and pick among `TINY_TABLE` alone."""
TINY_PROBE = "tiny-probe.json"
"""Its probe, for replays of its labels: `sdsearch init S`, `sdsearch probe S` make the same one."""
_PACKAGE = Path(__file__).resolve().parent


def asset_path(name: str) -> Path:
    """Return the path of the asset `name` ("tiny-sd", "tiny-labels.jsonl").

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
