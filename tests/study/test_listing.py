"""Who is in a study, and where from: no way in is lost, and no damaged file is read as another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdsearch.errors import InputError
from sdsearch.labels import Failure
from sdsearch.report.findings import read_evidence
from sdsearch.report.outcome import summarize_outcome
from sdsearch.report.page import render
from sdsearch.stages.fit import training_labels
from sdsearch.stages.sample import sample_study
from sdsearch.study.listing import (
    Listing,
    Origin,
    find_best,
    find_design,
    read_listing,
    read_sample,
    write_sample,
)
from tests.fakes import (
    label_by_params,
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)
from tests.unets import random_members

if TYPE_CHECKING:
    from pathlib import Path

ARCHS = random_members(5, seed=3, space="tiny")
ORIGINS = [
    Origin(kind="member", name="teacher"),
    Origin(kind="sample", name="uniform"),
    Origin(kind="proposal", name="active"),
    Origin(kind="design", name="autobuild-1"),
]


@given(st.lists(st.tuples(st.sampled_from(ARCHS), st.sampled_from(ORIGINS)), max_size=20))
def test_an_architecture_is_listed_once_with_every_way_it_came(pairs) -> None:
    listing = Listing.of(pairs)
    assert list(listing.architectures) == list(dict.fromkeys(arch.key for arch, _ in pairs))
    for entry in listing:
        assert entry.origins == {o for arch, o in pairs if arch.key == entry.arch_key}
    assert Listing.of(listing.pairs()) == listing


@given(
    st.lists(st.tuples(st.sampled_from(ARCHS), st.sampled_from(ORIGINS)), min_size=1, max_size=20)
)
def test_a_sample_is_read_as_it_was_written(tmp_path_factory, pairs) -> None:
    study = make_study(tmp_path_factory.mktemp("study"))
    write_sample(study, Listing.of(pairs))
    text = study.architectures_file.read_bytes()
    assert read_sample(study) == Listing.of(pairs)
    write_sample(study, read_sample(study))
    assert study.architectures_file.read_bytes() == text


def test_a_member_that_is_drawn_too_stays_a_member(tmp_path: Path) -> None:
    toml = "[space]\nname = 'sd14-blocks'\nlabels = 68\nseed = 33\n"
    study = make_study(tmp_path / "study", toml)
    teacher = tiny_member().key
    listing = sample_study(study)
    (entry,) = (entry for entry in listing if entry.arch_key == teacher)
    assert entry.names == ["teacher", "uniform"]
    assert listing.member("teacher") == teacher
    assert teacher in listing.keys_from("sample")
    label_by_params(study)
    rows = {row.name: row for row in summarize_outcome(study).rows}
    assert rows["teacher"].n == 1
    assert rows["evaluated uniform"].n == 68
    assert teacher in {label.arch_key for label in training_labels(study)}
    page = render(read_evidence(study), summarize_outcome(study))
    assert "teacher, uniform" in page
    assert "<td>teacher</td>" in page.replace('<td class="text">', "<td>")


def test_designs_follow_what_was_sampled(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 2\n")
    sample_study(study)
    new, old = ARCHS[0], tiny_member("bk-tiny")
    write_designs(study, [make_design(new, "autobuild", 1), make_design(old, "random", 1)])
    listing = read_listing(study)
    assert listing.entries[-1].names == ["autobuild-1"]
    assert listing.keys_from("design") == [old.key, new.key]
    assert len(listing) == len(read_sample(study)) + 1
    assert find_design(study, "random-1").architecture == old
    with pytest.raises(InputError, match="did you mean 'autobuild-1'"):
        find_design(study, "autobuild-9")


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"arch_key": "0", "origin": "uniform"}',
        '{"arch_key":"KEY","architecture":ARCH,"origins":[]}',
        '{"arch_key":"KEY","architecture":ARCH,"origins":[{"kind":"wind","name":"x"}]}',
        '{"arch_key":"OTHER","architecture":ARCH,"origins":[{"kind":"sample","name":"x"}]}',
    ],
)
def test_a_damaged_sample_names_its_line_and_the_next_step(tmp_path: Path, line: str) -> None:
    study = make_study(tmp_path / "study")
    write_sample(study, Listing.of([(ARCHS[0], ORIGINS[1])]))
    text = line.replace("KEY", ARCHS[1].key).replace("ARCH", ARCHS[1].model_dump_json())
    with study.architectures_file.open("a") as file:
        file.write(text + "\n")
    with pytest.raises(InputError, match=r"line 2 of .*; run: sdsearch sample"):
        read_sample(study)
    assert sample_study(study) == read_sample(study)


@pytest.mark.parametrize("byte", [b"\xff", b"{", b"\n"])
def test_sampling_mends_what_is_damaged_and_keeps_what_was_proposed(
    tmp_path: Path, byte: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 3\n")
    sample = sample_study(study)
    proposed = (ARCHS[0], Origin(kind="proposal", name="active"))
    write_sample(study, Listing.of([proposed, *sample.pairs()]))
    text = study.architectures_file.read_bytes()
    place = text.index(b"\n") + 20  # in the second line
    study.architectures_file.write_bytes(text[:place] + byte + text[place + 1 :])
    study.designs_file.write_bytes(b'{"designs": [' + byte)
    mended = sample_study(study)
    assert set(mended.pairs()) == {proposed, *sample.pairs()}
    assert "lines of" in (said := capsys.readouterr().err)
    assert "it is now designs.damaged" in said
    assert sample_study(study) == mended
    assert capsys.readouterr().err == ""


def test_a_damaged_design_file_says_how_to_make_it_again(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    study.designs_file.write_text('{"designs": [')
    said = r"designs\.json.*; run: sdsearch build"
    with pytest.raises(InputError, match=said):
        find_design(study, "autobuild-1")


def test_a_damaged_design_file_keeps_nobody_from_learning(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 3\n")
    sample_study(study)
    label_by_params(study)
    wanted = training_labels(study)
    study.designs_file.write_text('{"designs": [')
    assert training_labels(study) == wanted
    assert len(wanted) == 3


def test_the_best_measured_designs_of_any_method_are_exported_each_once(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", "[build]\ntop = 2\n")
    one, two, three, four = ARCHS[:4]
    designs = [
        make_design(one, "autobuild", 1),
        make_design(two, "autobuild", 2),
        make_design(three, "one-shot", 1),
        make_design(two, "one-shot", 2),
        make_design(four, "random", 1),
    ]
    write_designs(study, designs)
    assert [design.name for design in find_best(study)] == ["autobuild-1", "autobuild-2"]
    for arch, distance in ((one, 120.0), (two, 90.0), (three, 80.0)):
        study.labels.write(measured(arch, distance, 2.0))
    broken = Failure(kind="architecture", message="not a number")
    study.labels.write(make_label(four, failure=broken))
    assert [design.name for design in find_best(study)] == ["one-shot-1", "autobuild-2"]


def test_where_autobuild_built_nothing_all_unmeasured_designs_are_exported(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    assert find_best(study) == []
    write_designs(study, [make_design(arch, "one-shot", n) for n, arch in enumerate(ARCHS[:2], 1)])
    assert len(find_best(study)) == 2
