from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.drawing.drawing import draw_unet
from sdsearch.drawing.placing import BOX_HEIGHT, BOX_WIDTH, place_boxes, place_skips
from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.unet.backbone import SD14, TINY
from sdsearch.unet.cost import slot_costs
from sdsearch.unet.graph import EDGES, active_edges, build_graph
from sdsearch.unet.slots import SLOTS
from tests.unets import TEACHER, hard_members, random_members, random_wide_members

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from sdsearch.unet.architecture import Architecture

SVG = "{http://www.w3.org/2000/svg}"
NAMED = search_space("sd14").members
MEMBERS = [*hard_members(), *random_members(5, seed=51)]
ALL_SCORED = {slot.name: float(number) for number, slot in enumerate(SLOTS)}
EM = 0.62
"""Mean width of a letter, as a share of the font's size; wider than in the usual sans fonts."""


def slots_of(svg: str) -> dict[str, Element]:
    """Slot name -> the group that draws it, by what it says to a reader's pointer."""
    groups = [
        g for g in ElementTree.fromstring(svg).iter(f"{SVG}g") if "sds-slot" in g.get("class", "")
    ]
    return {str(g.findtext(f"{SVG}title")).split(":")[0]: g for g in groups}


def fill_of(group: Element) -> str:
    """The colour of the last rectangle that a score has coloured."""
    styles = [str(rect.get("style")) for rect in group.iter(f"{SVG}rect")]
    return re.findall("#[0-9a-f]{6}", styles[-1])[0]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of #rrggbb."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("arch", MEMBERS, ids=lambda arch: arch.key)
def test_every_slot_is_drawn_in_its_state_with_its_costs(arch: Architecture) -> None:
    groups = slots_of(draw_unet(arch, SD14))
    assert list(groups) == [slot.name for slot in SLOTS]
    for (name, group), cost in zip(groups.items(), slot_costs(arch, SD14), strict=True):
        kept, ghost = name in arch.kept_slots, name in arch.ghost_slots
        state = "kept" if kept else "ghost" if ghost else "removed"
        looks = str(group.get("class")).split()
        assert {"sds-kept", "sds-ghost", "sds-removed"} & set(looks) == {f"sds-{state}"}
        assert group.findtext(f"{SVG}title") == (
            f"{name}: {state}; {cost.params:,} parameters; {cost.macs.total:,} MACs"
        )


@pytest.mark.parametrize("arch", MEMBERS, ids=lambda arch: arch.key)
def test_the_solid_skips_are_those_that_flow_and_the_others_are_void(arch: Architecture) -> None:
    paths = [p for p in ElementTree.fromstring(draw_unet(arch, SD14)).iter(f"{SVG}path") if len(p)]
    solid, void = (
        {p.findtext(f"{SVG}title") for p in paths if p.get("class") == look}
        for look in ("sds-skip", "sds-skip-void")
    )
    names = [slot.name for slot in SLOTS]
    flowing = [e for e in active_edges(build_graph(arch, SD14)) if e.kind == "skip"]
    fed = {edge.target for edge in flowing}
    assert solid == {f"skip: {names[e.source]} to {names[e.target]}" for e in flowing}
    assert void == {
        f"void skip: {names[e.source]} to {names[e.target]}"
        for e in EDGES
        if e.kind == "skip" and e.target not in fed
    }
    assert len(paths) == 12


@pytest.mark.parametrize("arch", MEMBERS[:4], ids=lambda arch: arch.key)
def test_a_skip_is_drawn_from_the_edge_of_its_source_to_that_of_its_target(
    arch: Architecture,
) -> None:
    boxes = place_boxes(arch)
    paths = [p for p in ElementTree.fromstring(draw_unet(arch, SD14)).iter(f"{SVG}path") if len(p)]
    for skip, path in zip(place_skips(arch, SD14, boxes), paths, strict=True):
        numbers = [float(v) for v in re.findall(r"[\d.]+", str(path.get("d")))]
        source = skip.source
        sides = [source.middle, source.y], [source.x + BOX_WIDTH, source.y + BOX_HEIGHT / 2]
        assert numbers[:2] in sides
        assert numbers[-2:] == [skip.target.middle, skip.target.y]


def test_boxes_lie_apart_and_inside_the_picture_and_hold_their_words() -> None:
    svg = draw_unet(TEACHER, SD14)
    _, _, width, height = (
        float(v) for v in str(ElementTree.fromstring(svg).get("viewBox")).split()
    )
    boxes = list(place_boxes(TEACHER).values())
    for number, box in enumerate(boxes):
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + BOX_WIDTH <= width
        assert box.y + BOX_HEIGHT <= height
        for other in boxes[:number]:
            assert abs(box.x - other.x) >= BOX_WIDTH or abs(box.y - other.y) >= BOX_HEIGHT
    for box, group in zip(boxes, slots_of(svg).values(), strict=True):
        rect, text = group.find(f"{SVG}rect"), group.find(f"{SVG}text")
        assert rect is not None
        assert text is not None
        assert (float(rect.get("x", "")), float(rect.get("y", ""))) == (box.x, box.y)
        assert float(text.get("x", "")) == box.middle
        assert box.y + 13 < float(text.get("y", "")) < box.y + BOX_HEIGHT
        assert len(str(text.text)) * EM * 13 <= BOX_WIDTH - 4


@pytest.mark.parametrize(
    "scores", [{}, {"mid.res.0": -1.234e-05, "up.3.res.0": -1.233e-05}], ids=["kinds", "scores"]
)
def test_all_words_fit_the_picture(scores: dict[str, float]) -> None:
    wide = random_wide_members(1, seed=5, backbone=SD14)[0]
    root = ElementTree.fromstring(draw_unet(wide, SD14, scores, title="a long title, " * 20))
    width = float(str(root.get("viewBox")).split()[2])
    sizes = {"sds-title": 16.0, "sds-faint": 12.0}
    for text in root.findall(f"{SVG}text"):
        assert float(text.get("x", "")) >= 0
        length = len(str(text.text)) * EM * sizes.get(str(text.get("class")), 13.0)
        assert float(text.get("x", "")) + length <= width
    end = 0.0
    for group in (g for g in root.iter(f"{SVG}g") if g.get("class") == "sds-legend"):
        start = float(re.findall(r"[\d.]+", str(group.get("transform")))[0])
        text = group.findall(f"{SVG}text")[-1]
        assert start > end
        end = start + float(text.get("x", "")) + len(str(text.text)) * EM * 12
    assert 0 < end <= width


@pytest.mark.parametrize(("letter", "share"), [("W", 1.11), ("m", 1.05), ("\u6a21", 1.0)])
def test_a_title_of_the_widest_letters_is_cut_to_the_picture(letter: str, share: float) -> None:
    root = ElementTree.fromstring(draw_unet(TEACHER, SD14, title=letter * 200))
    shown = str(root.findtext(f"{SVG}text"))
    assert shown.endswith("…")
    assert 14 + len(shown) * share * 16 <= float(str(root.get("viewBox")).split()[2])
    assert root.findtext(f"{SVG}title") == letter * 200


def rows_of(svg: str) -> dict[str, list[str]]:
    """The words at the left of every row, by the row's name."""
    rows: dict[str, list[str]] = {}
    for text in ElementTree.fromstring(svg).findall(f"{SVG}text"):
        if text.get("x") != "18":
            continue
        if text.get("class"):
            list(rows.values())[-1].append(str(text.text))
        else:
            rows[str(text.text)] = []
    return rows


def test_rows_tell_level_channels_and_resolution() -> None:
    assert rows_of(draw_unet(TEACHER, SD14)) == {
        "level 0": ["320 channels", "64 x 64"],
        "level 1": ["640 channels", "32 x 32"],
        "level 2": ["1280 channels", "16 x 16"],
        "level 3": ["1280 channels", "8 x 8"],
        "mid": ["1280 channels", "8 x 8"],
    }
    narrow = random_wide_members(1, seed=5)[0]
    assert narrow.widths is not None
    rows = rows_of(draw_unet(narrow, TINY))
    assert [rows[f"level {level}"][0] for level in range(3)] == [
        f"{width} channels" for width in narrow.widths[:3]
    ]
    assert rows["level 2"][1] == "4 x 4"


def test_a_three_level_net_shows_level_3_as_absent_and_its_mid_block_at_level_2() -> None:
    assert rows_of(draw_unet(NAMED["bk-tiny"], SD14))["level 3"] == ["absent"]
    assert rows_of(draw_unet(NAMED["bk-tiny"], SD14))["mid"] == ["absent"]
    three = next(arch for arch in MEMBERS if arch.bottom.depth is None and arch.bottom.mid)
    rows = rows_of(draw_unet(three, SD14))
    assert rows["level 3"] == ["absent"]
    assert rows["mid"] == ["1280 channels", "16 x 16"]
    assert "absent" not in draw_unet(NAMED["bk-base"], SD14)


def test_a_higher_score_is_a_lighter_colour_with_its_number_in_the_tooltip() -> None:
    groups = slots_of(draw_unet(random_members(1, seed=3)[0], SD14, ALL_SCORED))
    light = [luminance(fill_of(groups[name])) for name in ALL_SCORED]
    assert light == sorted(light)
    assert len(set(light)) == len(light)
    assert fill_of(groups["conv_in"]) == "#00224e"
    assert fill_of(groups["conv_out"]) == "#fee838"
    for name, score in ALL_SCORED.items():
        assert str(groups[name].findtext(f"{SVG}title")).endswith(f"; score {score:.4g}")


def test_words_on_score_colours_have_the_contrast_of_normal_text() -> None:
    inks = {"sds-light": luminance("#ffffff"), "sds-dark": luminance("#000000")}
    groups = slots_of(draw_unet(TEACHER, SD14, ALL_SCORED))
    for group in groups.values():
        text = group.find(f"{SVG}text")
        assert text is not None
        low, high = sorted((inks[str(text.get("class"))], luminance(fill_of(group))))
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_scores_that_cannot_be_told_from_zero_have_an_empty_strip_and_no_colour() -> None:
    arch, off = NAMED["bk-tiny"], "mid.attn.0"
    scores = {name: score for name, score in ALL_SCORED.items() if name != "up.3.res.0"}
    plain = draw_unet(arch, SD14, scores)
    svg = draw_unet(arch, SD14, scores, unclear=("down.0.res.0", off, "up.3.res.0"))
    before, groups = slots_of(plain), slots_of(svg)
    for name, group in groups.items():
        if name in ("down.0.res.0", off):
            box, strip = group.findall(f"{SVG}rect")
            assert (box.get("style"), strip.get("style")) == (None, "fill:none")
            assert str(group.findtext(f"{SVG}title")).endswith(f"; score {scores[name]:.4g}")
        else:
            assert ElementTree.tostring(group) == ElementTree.tostring(before[name])
    assert "cannot be told from zero" in svg
    assert "told from zero" not in plain
    assert draw_unet(arch, SD14, unclear=[off]) == draw_unet(arch, SD14), "nothing is scored"
    ids = [re.findall(r' id="([^"]+)"', one) for one in (svg, plain)]
    assert not set(ids[0]) & set(ids[1])


def test_blocks_without_a_score_are_neutral_beside_scored_ones() -> None:
    svg = draw_unet(NAMED["bk-tiny"], SD14, {"down.0.res.0": 1.0, "mid.attn.0": 2.0})
    groups = slots_of(svg)
    for name, group in groups.items():
        plain = name in NAMED["bk-tiny"].kept_slots
        assert ("sds-plain" in str(group.get("class"))) == plain
    assert fill_of(groups["down.0.res.0"]) == "#00224e"
    off, strip = groups["mid.attn.0"].findall(f"{SVG}rect")
    assert off.get("style") is None
    assert "#fee838" in str(strip.get("style"))
    assert "not scored" in svg
    assert "residual" not in svg


def test_equal_scores_have_one_colour() -> None:
    groups = slots_of(draw_unet(TEACHER, SD14, dict.fromkeys(ALL_SCORED, 3.0)))
    assert len({fill_of(group) for group in groups.values()}) == 1


def test_foreign_text_stays_text() -> None:
    hostile = '</title><script>alert(1)</script>" & <b>'
    svg = draw_unet(TEACHER, SD14, title=hostile)
    assert "<script" not in svg
    texts = (ElementTree.fromstring(svg).findtext(f"{SVG}{tag}") for tag in ("title", "text"))
    assert list(texts) == [hostile, hostile]
    svg = draw_unet(TEACHER, SD14, title="a\x00b\x1bc\ud800")
    assert ElementTree.fromstring(svg).findtext(f"{SVG}title") == "a\ufffdb\ufffdc\ufffd"
    assert svg.encode()


def test_a_score_of_no_slot_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(InputError, match=r"did you mean 'down\.0\.res\.1'"):
        draw_unet(TEACHER, SD14, {"mid.res.0": 1.0, "down.0.res.11": 1.0, "zzz": 0.0})


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_with_its_slot(score: float) -> None:
    with pytest.raises(InputError, match=r"mid\.res\.0 is (nan|inf)"):
        draw_unet(TEACHER, SD14, {"mid.res.1": 1.0, "mid.res.0": score})


def test_the_picture_names_and_describes_itself_to_readers_who_do_not_see_it() -> None:
    root = ElementTree.fromstring(draw_unet(NAMED["bk-base"], SD14))
    assert root.get("role") == "img"
    by_id = {element.get("id"): str(element.text) for element in root.iter()}
    title, words = (by_id[name] for name in str(root.get("aria-labelledby")).split())
    assert NAMED["bk-base"].key in title
    assert words.startswith(str(NAMED["bk-base"]))
    assert "parameters" in words


def test_the_same_input_gives_the_same_bytes_and_two_pictures_share_no_id() -> None:
    assert draw_unet(TEACHER, SD14, ALL_SCORED) == draw_unet(TEACHER, SD14, ALL_SCORED)
    pictures = [
        draw_unet(TEACHER, SD14),
        draw_unet(TEACHER, TINY),
        draw_unet(TEACHER, SD14, {"mid.res.0": 1.0}),
        draw_unet(TEACHER, SD14, title="another"),
        draw_unet(NAMED["bk-base"], SD14),
    ]
    ids = [name for svg in pictures for name in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) == 2 * len(pictures)
    classes = {
        name
        for svg in pictures
        for names in re.findall(r' class="([^"]*)"', svg)
        for name in names.split()
    }
    assert all(name == "sds" or name.startswith("sds-") for name in [*classes, *ids])


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
    assert len(slots_of((tmp_path / "seven.svg").read_text(encoding="utf-8"))) == 46


def test_words_about_a_block_are_reached_by_keyboard_and_escaped() -> None:
    svg = draw_unet(TEACHER, SD14, said={"down.0.res.0": "<b>needed</b>"})
    assert svg.count('tabindex="0" role="img"') == 46
    assert "&lt;b&gt;needed&lt;/b&gt;" in svg
    assert "<b>" not in svg
    assert 'class="sds" role="group"' in svg
    assert "tabindex" not in draw_unet(TEACHER, SD14)
