from __future__ import annotations

import builtins
import io
import sys
from typing import TYPE_CHECKING, Any

import pytest

import sdsearch
from sdsearch.labels.label import Failure
from tests.fakes import (
    label_by_params,
    list_members,
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.api.study import Study

MEMBERS = ("teacher", "bk-base", "bk-small", "bk-tiny")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Four measured members and two designs."""
    made = make_study(
        tmp_path / "study", "[build]\nbudget = { params = { share = 0.6 }, macs = 2e8 }\n"
    )
    list_members(made, map(tiny_member, MEMBERS))
    label_by_params(made)
    write_designs(
        made,
        [
            make_design(tiny_member("bk-small"), "autobuild", 1),
            make_design(tiny_member("bk-tiny"), "random", 1),
        ],
    )
    return sdsearch.Study(made)


def test_labels_are_a_frame_by_architecture_with_values_and_their_errors(study: Study) -> None:
    arch = tiny_member("bk-small")
    study.folder.labels.write(measured(arch, 212.5, 3.0))
    study.folder.labels.write(measured(arch, 1.0, 3.0, seed=1))  # of another series
    broken = sdsearch.Architecture.parse("mid none")
    failure = Failure(kind="memory", message="no room", phase="sampling")
    study.folder.labels.write(make_label(broken, failure=failure))
    frame = study.labels
    assert frame.index.name == "arch_key"
    assert frame.loc[arch.key, "fd_efflite0"] == 212.5
    assert frame.loc[arch.key, "fd_efflite0_se"] == 3.0
    assert frame.loc[arch.key, "params"] == 1_920_100
    assert sdsearch.Architecture.parse(frame.loc[arch.key, "architecture"]) == arch
    failed = frame.loc[broken.key]
    assert (failed.failure_kind, failed.failure_phase) == ("memory", "sampling")
    assert failed.failure == "no room"
    assert frame.status.value_counts().to_dict() == {"ok": 4, "failed": 1}
    assert frame.fd_efflite0.isna().sum() == 1


def test_a_latency_is_its_median_and_its_range(study: Study) -> None:
    latency = {"median": 9.5, "iqr": 0.25, "device": "cpu"}
    study.folder.labels.write(make_label(tiny_member(), latency_ms=latency))
    row = study.labels.loc[tiny_member().key]
    assert (row.latency_ms, row.latency_ms_iqr) == (9.5, 0.25)


def test_designs_are_a_frame_by_name_that_joins_the_labels(study: Study) -> None:
    frame = study.designs
    assert list(frame.index) == ["autobuild-1", "random-1"]
    assert frame.loc["autobuild-1", "predicted"] == -3.0
    assert frame.loc["autobuild-1", "predicted_se"] == 0.1
    joined = frame.join(study.labels["fd_efflite0"], on="arch_key")
    assert joined.fd_efflite0.notna().all()


def test_tables_of_an_empty_study_are_empty_and_have_their_columns(tmp_path: Path) -> None:
    empty = sdsearch.create_study(tmp_path)
    assert len(empty.labels) == len(empty.designs) == 0
    assert {"architecture", "status"} <= set(empty.labels.columns)
    assert {"params", "predicted"} <= set(empty.designs.columns)


@pytest.mark.parametrize("table", ["labels", "designs"])
def test_without_pandas_a_table_says_how_to_install_it(
    study: Study, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(sdsearch.InputError, match="pip install pandas"):
        getattr(study, table)


def test_of_all_properties_only_labels_and_designs_read_files(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.labels, study.designs, repr(study)  # loads what they need
    design = study.design("autobuild-1")

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(builtins, "open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    reading = []
    for value in (study, design):
        properties = [n for n, v in vars(type(value)).items() if isinstance(v, property)]
        assert properties
        for name in properties:
            try:
                getattr(value, name)
            except AssertionError:
                reading.append(name)
        repr(value)
    assert reading == ["labels", "designs"]


def test_a_study_is_shown_by_what_it_searches_and_what_it_has(study: Study) -> None:
    assert repr(study) == (
        f"Study({str(study.path)!r}, teacher='tiny', space='tiny', "
        "budget={'params': {'share': 0.6}, 'macs': 200000000.0})"
    )
    shown = study._repr_html_()
    assert shown.startswith("<table><caption>study ")
    assert "4 measured, 0 failed" in shown
    assert "autobuild-1, random-1" in shown


def test_html_escapes_foreign_text(tmp_path: Path) -> None:
    study = sdsearch.create_study(tmp_path / "<b>study", budget=0.6)
    assert "<b>" not in study._repr_html_()
    assert "&lt;b&gt;study" in study._repr_html_()


def test_the_outcome_is_shown_as_one_line_and_as_a_table(study: Study) -> None:
    found = study.outcome()
    assert repr(found).startswith("Outcome(fd_efflite0: ")
    assert "tiny Stable Diffusion, protocol " in repr(found)
    assert "│ autobuild " in str(found)
    assert "share of the teacher's" in str(found)
    shown = found._repr_html_()
    assert '<th scope="row">autobuild</th>' in shown
    assert shown.count("<tr>") == 2 + len(found.rows) + len(found.claims)


def test_a_study_without_designs_or_labels_says_what_to_run_before_heavy_work(
    tmp_path: Path,
) -> None:
    study = sdsearch.create_study(tmp_path)
    assert repr(study.sample()) == "Listing(72 architectures, 4 named members, 68 sampled)"
    with pytest.raises(sdsearch.InputError, match=f"of 68 .* sdsearch label {study.path}, or imp"):
        study.fit()
    with pytest.raises(sdsearch.InputError, match=f"to compare; run: sdsearch build {study.path}"):
        study.compare()
    assert "nothing is measured yet" in str(study.outcome())
    assert str(study.status()[0]).startswith("0 of 72 models measured")


def test_an_unknown_design_names_the_nearest_and_without_any_says_what_to_do(
    study: Study, tmp_path: Path
) -> None:
    with pytest.raises(sdsearch.InputError, match="did you mean 'autobuild-1'"):
        study.design("autobuild")
    with pytest.raises(sdsearch.InputError, match="no design 1; the designs are autobuild-1"):
        study.design(1)
    with pytest.raises(sdsearch.InputError, match="build some first"):
        sdsearch.create_study(tmp_path / "empty").design("autobuild-1")


def test_a_study_is_sampled_labelled_from_a_table_and_asked_for_its_status(tmp_path: Path) -> None:
    study = sdsearch.create_study(tmp_path)
    assert len(study.sample()) == 72
    assert study.import_labels().imported > 0
    (status,) = study.status()
    assert (status.wanted, status.ok, status.waiting) == (72, 72, 0)
    assert study.import_labels().imported == 0
    with pytest.raises(sdsearch.InputError, match="readable JSONL"):
        study.import_labels(tmp_path / "nowhere.jsonl")


@pytest.mark.slow
def test_a_study_is_searched_from_python(tmp_path: Path) -> None:
    study = sdsearch.create_study(
        tmp_path, space={"labels": 20}, budget=0.6, build={"top": 2}, ranker={"kind": "ridge"}
    )
    study.sample()
    label_by_params(study.folder)
    assert str(study.fit()).startswith("FitReport(ridge on 20 labels: SRCC ")
    assert str(study.score()).startswith("Scores(tiny, ridge: ")
    built = study.build()
    assert [design.name for design in built][:2] == ["autobuild-1", "autobuild-2"]
    assert study.design("autobuild-1") == built[0]
    assert len(study.propose(3)) == 3
    assert "score" in built[0].draw()
