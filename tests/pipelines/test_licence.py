"""The licence of a pipeline: read from its card's front matter, with the text that goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdsearch.pipelines.licence import HUB_LICENCES, read_licence

ROOT = Path(__file__).resolve().parents[2]


def write_card(folder: Path, front: str, body: str = "") -> str:
    (folder / "README.md").write_text(f"---\n{front}\n---\n{body}", encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize(
    ("front", "name", "hub_id"),
    [
        ("license: openrail++", "openrail++", "openrail++"),
        ("license: 'mit'  # as the code", "mit", "mit"),
        ("tags: [a]\nlicense:\n- apache-2.0\nlanguage: en", "apache-2.0", "apache-2.0"),
        ("license: [mit, apache-2.0]", "mit-and-apache-2.0", "other"),
        ("license:\n  - mit\n  - apache-2.0", "mit-and-apache-2.0", "other"),
        ("license: other\nlicense_name: House rules", "House-rules", "other"),
        ("license: other", "other", "other"),
        ("license: no-such-1.0", "no-such-1.0", "other"),
        ("license: ../../etc/passwd", "etc-and-passwd", "other"),
    ],
)
def test_a_card_states_its_licence_in_its_front_matter(
    tmp_path: Path, front: str, name: str, hub_id: str
) -> None:
    found = read_licence(write_card(tmp_path, front))
    assert found.is_stated
    assert (found.name, found.hub_id) == (name, hub_id)


@pytest.mark.parametrize(
    ("front", "body"),
    [
        ("license:\nlibrary_name: diffusers", ""),
        ("tags: [a]", "license: mit\n"),
        ("tags:\n  license: mit", ""),
    ],
)
def test_what_is_no_stated_licence_is_none(tmp_path: Path, front: str, body: str) -> None:
    found = read_licence(write_card(tmp_path, front, body))
    assert (found.name, found.is_stated) == ("creativeml-openrail-m", False)


def test_the_text_is_the_pipelines_own_else_one_that_comes_along_else_none(tmp_path: Path) -> None:
    place = write_card(tmp_path, "license: openrail++")
    assert "CreativeML Open RAIL++-M License" in str(read_licence(place).text)
    write_card(tmp_path, "license: creativeml-openrail-m")
    assert "CreativeML Open RAIL-M\n" in str(read_licence(place).text)
    for name in ("apache-2.0", "sdsearch"):
        write_card(tmp_path, f"license: {name}")
        assert read_licence(place).text is None
    (tmp_path / "LICENSE.txt").write_text("house rules\r\n")
    assert read_licence(place).text == "house rules\n"


def test_the_tiny_teacher_is_under_the_licence_of_this_repository() -> None:
    found = read_licence("tiny")
    assert (found.name, found.is_stated) == ("mit", True)
    assert found.text == (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_licences_of_stable_diffusion_are_whole() -> None:
    folder = ROOT / "sdsearch" / "pipelines" / "licences"
    for name in ("creativeml-openrail-m", "openrail++"):
        text = (folder / f"{name}.txt").read_text(encoding="utf-8")
        assert "Attachment A" in text
        assert "END OF TERMS AND CONDITIONS" in text
        assert name in HUB_LICENCES
