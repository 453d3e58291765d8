from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from sdsearch.backbone import SD14, TINY
from sdsearch.cli import app
from sdsearch.drawing import BOX_HEIGHT, BOX_WIDTH, draw_unet, place_boxes, score_colour
from sdsearch.errors import InputError
from sdsearch.graph import active_edges, build_graph
from sdsearch.slots import SLOTS
from sdsearch.space import search_space
from tests.unets import TEACHER, hard_members, random_members, random_wide_members

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.architecture import Architecture

SVG = "{http://www.w3.org/2000/svg}"
NAMED = search_space("sd14").members


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def slots_of(svg: str) -> dict[str, str]:
    """Slot name -> state, from what the drawing says to a reader's pointer."""
    groups = [g for g in parsed(svg).iter(f"{SVG}g") if "sds-slot" in g.get("class", "")]
    titles = [str(g.findtext(f"{SVG}title")).split(";")[0].split(": ") for g in groups]
    assert all(
        f"sds-{state}" in g.get("class", "") for (_, state), g in zip(titles, groups, strict=True)
    )
    return dict(titles)


@pytest.mark.parametrize(
    "arch", [*hard_members(), *random_members(5, seed=51)], ids=lambda arch: arch.key
)
def test_every_slot_is_drawn_in_its_state_and_every_skip_that_flows_is_solid(
    arch: Architecture,
) -> None:
    svg = draw_unet(arch, SD14)
    states = slots_of(svg)
    assert list(states) == [slot.name for slot in SLOTS]
    for name, state in states.items():
        expected = (
            "kept"
            if name in arch.kept_slots
            else "ghost"
            if name in arch.ghost_slots
            else "removed"
        )
        assert state == expected
    skips = [e for e in active_edges(build_graph(arch, SD14)) if e.kind == "skip"]
    drawn = [p.get("class") for p in parsed(svg).iter(f"{SVG}path")]
    assert drawn.count("sds-skip") == len(skips) + 1  # and one in the legend
    assert drawn.count("sds-skip") + drawn.count("sds-skip-void") == 12 + 1


def test_boxes_lie_apart_and_inside_the_picture() -> None:
    boxes = list(place_boxes(TEACHER).values())
    _, _, width, height = (
        float(v) for v in str(parsed(draw_unet(TEACHER, SD14)).get("viewBox")).split()
    )
    for number, box in enumerate(boxes):
        assert box.x >= 0
        assert box.x + BOX_WIDTH <= width
        assert box.y + BOX_HEIGHT <= height
        for other in boxes[:number]:
            assert abs(box.x - other.x) >= BOX_WIDTH or abs(box.y - other.y) >= BOX_HEIGHT
    assert all(len(word) * 7.5 <= BOX_WIDTH for word in ("conv", "attn", "down"))


def test_widths_and_an_absent_level_are_told() -> None:
    narrow = random_wide_members(3, seed=5)[0]
    assert narrow.widths is not None
    svg = draw_unet(narrow, TINY)
    for width in set(narrow.widths[:3]):
        assert f"{width} channels" in svg
    assert "absent" in draw_unet(NAMED["bk-tiny"], SD14)
    assert "absent" not in draw_unet(NAMED["bk-base"], SD14)


def test_scores_colour_the_blocks_from_dark_to_light() -> None:
    ramp = [score_colour(share) for share in np.linspace(0, 1, 20)]
    light = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in ramp]
    assert ramp[0] == "#00224e"
    assert ramp[-1] == "#fee838"
    green = [int(colour[3:5], 16) for colour in ramp]
    assert green == sorted(green)
    assert light[-1] > light[0]
    svg = draw_unet(TEACHER, SD14, {"mid.attn.0": -2.0, "up.3.attn.2": 5.5})
    assert svg.count("#00224e") == 2  # the lower score and the legend's first step
    assert "score 5.5" in svg


def test_foreign_text_stays_text() -> None:
    hostile = '</title><script>alert(1)</script>" & <b>'
    svg = draw_unet(TEACHER, SD14, title=hostile)
    assert "<script" not in svg
    assert parsed(svg).findtext(f"{SVG}title") == hostile


def test_a_score_of_no_slot_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"down\.0\.res\.1"):
        draw_unet(TEACHER, SD14, {"down.0.res.11": 1.0})


def test_the_same_member_gives_the_same_picture_with_names_of_its_own() -> None:
    first, second = (draw_unet(arch, SD14) for arch in (TEACHER, NAMED["bk-base"]))
    assert first == draw_unet(TEACHER, SD14)
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, second)]
    assert len(ids[0]) == 2
    assert not ids[0] & ids[1]


def test_the_command_draws_a_member_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["space", "--space", "sd14", "--draw", "bk-tiny"])
    assert done.exit_code == 0, done.output
    file = tmp_path / f"{NAMED['bk-tiny'].key}.svg"
    assert done.output.strip() == file.name
    assert file.read_text(encoding="utf-8") == draw_unet(NAMED["bk-tiny"], SD14)
    named = ["space", "--teacher", "tiny", "--draw", "7", "--out", "seven.svg"]
    assert CliRunner().invoke(app, named).exit_code == 0
    assert slots_of((tmp_path / "seven.svg").read_text(encoding="utf-8"))
