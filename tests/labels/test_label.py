from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.labels.label import Label, Latency, Measurement
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.store import (
    check_comparable,
    import_labels,
    label_path,
    read_labels,
    read_table,
    write_label,
    write_table,
)
from sdsearch.study.folder import init_study
from tests.fakes import make_label, tiny_member

if TYPE_CHECKING:
    from pathlib import Path

TEACHER = "ab" * 32


def test_a_label_survives_the_round_trip_with_its_file_names(tmp_path: Path) -> None:
    study = init_study(tmp_path)
    label = make_label(
        tiny_member("bk-tiny"),
        fd_efflite0={"value": 41.2, "se": 0.9, "n": 256},
        latency_ms={"median": 118.0, "iqr": 4.1, "device": "cpu"},
        params=3_312_004,
    )
    path = write_label(study, label)
    assert path == tmp_path / "labels" / label.arch_key / f"{label.protocol_key}-s0.json"
    assert read_labels(study) == [label]
    stored = json.loads(path.read_text())
    assert stored["schema"] == 1
    assert stored["values"]["params"] == 3_312_004
    assert isinstance(label.values["fd_efflite0"], Measurement)
    assert isinstance(label.values["latency_ms"], Latency)
    assert [label.scalar(name) for name in ("fd_efflite0", "latency_ms", "params")] == [
        41.2,
        118.0,
        3_312_004,
    ]


def test_writing_a_label_again_leaves_one_file_and_no_rest(tmp_path: Path) -> None:
    study = init_study(tmp_path)
    write_label(study, make_label(fd=1.0))
    write_label(study, make_label(fd=2.0))
    assert [label.scalar("fd") for label in read_labels(study)] == [2.0]
    assert len(list((tmp_path / "labels").rglob("*.*"))) == 1


def test_labels_of_other_protocols_and_seeds_are_kept_apart(tmp_path: Path) -> None:
    study = init_study(tmp_path)
    for key, seed in (("a" * 12, 0), ("a" * 12, 1), ("b" * 12, 0)):
        write_label(study, make_label(protocol_key=key, seed=seed, fd=1.0))
    assert len(read_labels(study)) == 3
    assert [label.seed for label in read_labels(study, "a" * 12)] == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"arch_key": "0" * 12},
        {"status": "failed"},
        {"values": {"fd": float("nan")}},
        {"values": {"fd": {"value": 1.0, "err": 2.0}}},
        {"schema": 2},
        {"extra": 1},
    ],
)
def test_a_label_that_is_not_one_is_refused(wrong: dict[str, object]) -> None:
    data = {**json.loads(make_label(fd=1.0).to_json()), **wrong}
    with pytest.raises(ValidationError):
        Label.model_validate(data)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'fd_efflite0'"):
        make_label(fd_efflite0=1.0, psnr_hole=2.0).scalar("fd_eff")
    with pytest.raises(InputError, match="it has none"):
        make_label(status="failed", reason="out of memory").scalar("fd")


def test_an_import_takes_its_own_protocol_and_says_what_it_refused(tmp_path: Path) -> None:
    study, key = init_study(tmp_path), Protocol().key
    provenance = {"teacher_sha256": TEACHER, "versions": {"torch": "2.13.0"}}
    mine = [
        make_label(tiny_member(name), fd=1.0, provenance=provenance)
        for name in ("teacher", "bk-base", "bk-small")
    ]
    strangers = [
        make_label(protocol_key="0" * 12, fd=1.0, provenance=provenance),
        make_label(tiny_member("bk-tiny"), fd=1.0, provenance={"teacher_sha256": "cd" * 32}),
        make_label(tiny_member("bk-tiny"), fd=1.0, seed=1),
    ]
    write_label(study, make_label(tiny_member("bk-base"), fd=7.0))
    write_table(tmp_path / "table.jsonl", [*mine, *strangers])
    done = import_labels(study, tmp_path / "table.jsonl", key, TEACHER)
    assert (done.imported, done.skipped_existing) == (2, 1)
    assert (done.other_protocol, done.other_teacher) == (1, 2)
    assert done.origin == "table.jsonl: teacher abababababab; torch 2.13.0"
    kept = [label.scalar("fd") for label in read_labels(study, key)]
    assert sorted(kept) == [1.0, 1.0, 7.0]
    again = import_labels(study, tmp_path / "table.jsonl", key, TEACHER)
    assert (again.imported, again.skipped_existing) == (0, 3)


def test_an_import_of_another_protocol_alone_is_refused(tmp_path: Path) -> None:
    study = init_study(tmp_path)
    write_table(tmp_path / "table.jsonl", [make_label(protocol_key="0" * 12, fd=1.0)])
    with pytest.raises(InputError, match=rf"{Protocol().key}.*{'0' * 12}"):
        import_labels(study, tmp_path / "table.jsonl", Protocol().key, TEACHER)
    assert read_labels(study) == []


@pytest.mark.parametrize("name", ["teacher_sha256", "manifest_sha256", "extractor_sha256"])
def test_labels_of_two_teachers_datasets_or_extractors_are_never_mixed(name: str) -> None:
    provenance = {
        "teacher_sha256": "a" * 64,
        "manifest_sha256": "b" * 64,
        "extractor_sha256": "c" * 64,
    }
    labels = [make_label(fd=1.0, provenance=provenance)]
    check_comparable(labels, provenance)
    with pytest.raises(InputError, match=f"{name}.*new study folder"):
        check_comparable(labels, {**provenance, name: "d" * 64})


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"schema": 1}', "\x00"])
def test_a_broken_table_names_the_line(tmp_path: Path, line: str) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text(make_label(fd=1.0).to_json() + "\n\n" + line + "\n")
    with pytest.raises(InputError, match="line 3"):
        read_table(table)
    with pytest.raises(InputError, match="readable"):
        read_table(tmp_path / "none.jsonl")


def test_the_label_path_is_unique_by_architecture_protocol_and_seed(tmp_path: Path) -> None:
    study = init_study(tmp_path)
    paths = {
        label_path(study, arch, protocol, seed)
        for arch in ("a", "b")
        for protocol in ("p", "q")
        for seed in (0, 1)
    }
    assert len(paths) == 8
