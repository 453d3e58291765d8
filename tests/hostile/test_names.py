"""Names that come out of files are words: none of them is a path that anything is written to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sdsearch.design.designs import DesignFile, DesignName
from sdsearch.errors import InputError
from sdsearch.export import pipeline
from sdsearch.export.pipeline import export_pipeline
from sdsearch.space import Budget
from sdsearch.study.listing import read_designs
from tests.fakes import fake_teacher, make_design, make_study, tiny_member

NAME = TypeAdapter(DesignName)
ODD = [
    "/tmp/elsewhere",
    "../../x",
    "..",
    ".",
    "a/b",
    "a\\b",
    "",
    "-a",
    "a-",
    "a\n",
    "a b",
    "\u202eb",
]


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path / "study")


def write_design(study, **changes):
    """A study's designs.json as it was built, but for some fields of its one design."""
    built = DesignFile(
        protocol_key=study.protocol_key,
        target="fd_efflite0",
        budget=Budget(),
        designs=(make_design(tiny_member("bk-tiny"), "autobuild", 1, "for a reason"),),
    ).model_dump(mode="json")
    built["designs"][0].update(changes)
    study.designs_file.write_text(json.dumps(built))
    return built


@pytest.mark.parametrize("name", ODD)
def test_a_design_named_like_a_place_is_refused_where_it_is_read(study, name):
    write_design(study, name=name)
    with pytest.raises(InputError, match=r"designs\.json must hold designs"):
        read_designs(study)


@given(st.text(max_size=80))
def test_every_name_that_is_accepted_is_one_part_of_a_path_on_any_system(name):
    try:
        NAME.validate_python(name)
    except ValidationError:
        return
    assert Path(name).name == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_a_design_whose_key_is_not_that_of_its_architecture_is_refused(study):
    write_design(study, arch_key="../../../etc")
    with pytest.raises(InputError, match="arch_key"):
        read_designs(study)


def test_two_designs_of_one_name_are_refused(study):
    built = write_design(study)
    built["designs"] *= 2
    study.designs_file.write_text(json.dumps(built))
    with pytest.raises(InputError, match="names of their own"):
        read_designs(study)


def test_what_another_export_of_a_longer_name_writes_is_no_leftover(tmp_path):
    left, other = tmp_path / ".own-0123abcd.tmp", tmp_path / ".own-2-0123abcd.tmp"
    for folder in (left, other):
        folder.mkdir()
    pipeline._remove_leftovers(tmp_path / "own")
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_an_export_replaces_nothing_that_it_has_not_written(tmp_path, kind):
    teacher = fake_teacher(tmp_path / "teacher")
    study = make_study(tmp_path / "study", f"[teacher]\npipeline = {str(teacher)!r}\n")
    own = tmp_path / "own"
    own.mkdir()
    (own / "thesis.txt").write_text("years of work")
    place = study.pipelines_dir / "autobuild-1"
    study.pipelines_dir.mkdir()
    if kind == "link":
        place.symlink_to(own)
    else:
        os.rename(own, place)
    design = make_design(tiny_member("bk-tiny"), "autobuild", 1, "for a reason")
    with pytest.raises(InputError, match="move it away"):
        export_pipeline(design, study, "teacher")
    assert (place / "thesis.txt").read_text() == "years of work"
