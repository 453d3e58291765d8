"""What a probe found, drawn and told."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from sdsearch.assets import TINY_PROBE, asset_path
from sdsearch.design.probe import read_probe
from sdsearch.report.probing import describe_probe, draw_probe
from sdsearch.space.space import search_space
from sdsearch.unet.slots import SLOTS
from tests.planted import planted_probe

SPACE = search_space("tiny")
PROBE = planted_probe(SPACE)
SVG = "{http://www.w3.org/2000/svg}"


def test_every_block_has_its_change_macs_and_milliseconds_below_it():
    root = ElementTree.fromstring(draw_probe(PROBE, SPACE))
    lines = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "sds-tiny"]
    assert len(lines) == 3 * len(SLOTS)
    assert lines[:3] == ["kept", "664k MACs", "1.0 ms"]
    changes = [line for line in lines if line.endswith(" %")]
    assert len(changes) == sum(slot.name in PROBE.slot_errors(SPACE) for slot in SLOTS)


def test_the_page_shows_the_tiny_teachers_probe_as_it_is_drawn_now():
    probe = read_probe(asset_path(TINY_PROBE))
    assert probe is not None
    page = Path(__file__).parents[2] / "docs" / "probe.svg"
    assert page.read_text(encoding="utf-8") == draw_probe(probe, SPACE)


def test_the_words_name_what_can_go_first_and_share_the_errors_over_levels():
    said = describe_probe(PROBE, SPACE)
    least = min(PROBE.removals, key=PROBE.error)
    assert all(name in said[1] for name in least.lost)
    parts = said[-1].split(": ")[1].split(", ")
    shares = [int(part.rpartition(" ")[2].rstrip("%")) for part in parts]
    assert 98 <= sum(shares) <= 102
