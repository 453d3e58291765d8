from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from sdsearch.errors import InputError
from sdsearch.labels.content import ResolvedProtocol
from sdsearch.labels.label import (
    Failure,
    FailureKind,
    Label,
    LabelKey,
    Latency,
    Measurement,
    Series,
)
from sdsearch.labels.protocol import Protocol
from sdsearch.labels.store import (
    LabelStore,
    check_comparable,
    import_labels,
    read_label_table,
    write_label_table,
)
from tests.fakes import make_label, tiny_member

if TYPE_CHECKING:
    from pathlib import Path

TEACHER = "ab" * 32


def test_a_label_survives_the_round_trip_with_its_file_names(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    label = make_label(
        tiny_member("bk-tiny"),
        fd_efflite0={"value": 41.2, "se": 0.9, "n": 256},
        latency_ms={"median": 118.0, "iqr": 4.1, "device": "cpu"},
        params=3_312_004,
    )
    path = store.write(label)
    assert path == tmp_path / "labels" / label.arch_key / f"{label.protocol_key}-s0.json"
    assert store.read_all() == [label]
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


def test_blocks_are_part_of_a_label_and_of_no_file_that_has_none(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    bare = make_label(fd={"value": 41.2, "se": 0.9, "n": 256})
    text = store.write(bare).read_text()
    assert "blocks" not in text, "a label of before is written as it was"
    kept = make_label(fd={"value": 41.2, "se": 0.9, "n": 256, "blocks": [41.0, 41.5]})
    assert kept.key == bare.key
    store.write(kept)
    (read,) = store.read_all()
    assert isinstance(read.values["fd"], Measurement)
    assert read.values["fd"].blocks == (41.0, 41.5)
    with pytest.raises(ValidationError, match="at least 2"):
        make_label(fd={"value": 41.2, "blocks": [41.0]})


def test_writing_a_label_again_leaves_one_file_and_no_rest(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    store.write(make_label(fd=1.0))
    store.write(make_label(fd=2.0))
    assert [label.scalar("fd") for label in store.read_all()] == [2.0]
    assert len(list((tmp_path / "labels").rglob("*.*"))) == 1


def test_labels_of_other_protocols_and_seeds_are_kept_apart(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    for key, seed in (("a" * 12, 0), ("a" * 12, 1), ("b" * 12, 0)):
        store.write(make_label(protocol_key=key, seed=seed, fd=1.0))
    assert len(store.read_all()) == 3
    assert [label.seed for label in store.read_all("a" * 12)] == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"arch_key": "0" * 12},
        {"status": "failed"},
        {"failure": {"kind": "memory", "message": "no"}},
        {"values": {"fd": float("nan")}},
        {"values": {"fd": {"value": 1.0, "err": 2.0}}},
        {"schema": 2},
        {"extra": 1},
    ],
)
def test_a_label_that_is_not_one_is_refused(wrong: dict[str, object]) -> None:
    data = {**make_label(fd=1.0).model_dump(mode="json"), **wrong}
    with pytest.raises(ValidationError):
        Label.model_validate(data)


def test_a_label_that_says_in_words_why_it_failed_is_read(tmp_path: Path) -> None:
    broken = Failure(kind="architecture", message="inherited weights do not fit")
    labels = [make_label(fd=1.0), make_label(tiny_member("bk-tiny"), failure=broken)]
    rows = [label.model_dump(mode="json") for label in labels]
    for row in rows:
        failure = row.pop("failure")
        row["reason"] = failure and failure["message"]
    table = tmp_path / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_label_table(table) == labels
    with pytest.raises(ValidationError, match="reason"):
        Label.model_validate({**rows[1], "failure": broken})


def test_a_bit_that_flips_in_any_byte_of_a_label_is_noticed(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    label = make_label(fd=69.125, psnr_hole=20.5)
    path = store.write(label)
    whole = path.read_bytes()
    assert store.read(label.key) == label
    for place in range(len(whole.rstrip())):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError):
            store.read(label.key)


def test_a_missing_column_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'fd_efflite0'"):
        make_label(fd_efflite0=1.0, psnr_hole=2.0).scalar("fd_eff")
    with pytest.raises(InputError, match="it has none"):
        make_label(failure=Failure(kind="memory", message="out of memory")).scalar("fd")


def test_an_import_takes_its_own_protocol_and_says_what_it_refused(tmp_path: Path) -> None:
    store, key = LabelStore(tmp_path / "labels"), ResolvedProtocol(protocol=Protocol()).key
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
    store.write(make_label(tiny_member("bk-base"), fd=7.0))
    write_label_table(tmp_path / "table.jsonl", [*mine, *strangers])
    done = import_labels(store, tmp_path / "table.jsonl", key, TEACHER)
    assert (done.imported, done.skipped_existing) == (2, 1)
    assert (done.other_protocol, done.other_teacher) == (1, 2)
    assert done.origin == "table.jsonl: teacher abababababab; torch 2.13.0"
    kept = [label.scalar("fd") for label in store.read_all(key)]
    assert sorted(kept) == [1.0, 1.0, 7.0]
    again = import_labels(store, tmp_path / "table.jsonl", key, TEACHER)
    assert (again.imported, again.skipped_existing) == (0, 3)


def test_an_import_of_another_protocol_alone_is_refused(tmp_path: Path) -> None:
    store = LabelStore(tmp_path / "labels")
    write_label_table(tmp_path / "table.jsonl", [make_label(protocol_key="0" * 12, fd=1.0)])
    with pytest.raises(
        InputError, match=rf"{ResolvedProtocol(protocol=Protocol()).key}.*{'0' * 12}"
    ):
        import_labels(
            store, tmp_path / "table.jsonl", ResolvedProtocol(protocol=Protocol()).key, TEACHER
        )
    assert store.read_all() == []


@pytest.mark.parametrize("name", ["teacher_sha256", "extractor_sha256"])
def test_labels_of_two_teachers_or_extractors_are_never_mixed(name: str) -> None:
    provenance = {
        "teacher_sha256": "a" * 64,
        "extractor_sha256": "c" * 64,
    }
    labels = [make_label(fd=1.0, provenance=provenance)]
    check_comparable(labels, provenance)
    with pytest.raises(InputError, match=f"{name}.*new study folder"):
        check_comparable(labels, {**provenance, name: "d" * 64})


def test_labels_of_a_sampler_with_other_options_are_never_mixed() -> None:
    names = {"teacher_sha256": "a" * 64, "extractor_sha256": "c" * 64}
    now = {**names, "sampling": {"scheduler_config": {"clip_sample": False, "added_later": 1}}}
    then = {**names, "sampling": {"scheduler_config": {"clip_sample": True}}}
    check_comparable([make_label(fd=1.0, provenance=now)], now)
    check_comparable([make_label(fd=1.0, provenance=names)], now)
    with pytest.raises(InputError, match="clip_sample True, not False"):
        check_comparable([make_label(fd=1.0, provenance=then)], now)


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"schema": 1}', "\x00"])
def test_a_broken_table_names_the_line(tmp_path: Path, line: str) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text(make_label(fd=1.0).to_json() + "\n\n" + line + "\n")
    with pytest.raises(InputError, match="line 3"):
        read_label_table(table)
    with pytest.raises(InputError, match="readable"):
        read_label_table(tmp_path / "none.jsonl")


def test_the_file_of_a_label_is_unique_by_architecture_protocol_and_seed(tmp_path: Path) -> None:
    paths = {
        LabelStore(tmp_path).path(LabelKey(arch, Series(protocol, seed)))
        for arch in ("a", "b")
        for protocol in ("p", "q")
        for seed in (0, 1)
    }
    assert len(paths) == 8


def test_a_series_is_read_by_architecture_and_one_label_by_its_key(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    first, second = make_label(fd=1.0), make_label(tiny_member("bk-tiny"), fd=2.0)
    for label in (first, second, make_label(seed=1, fd=3.0), make_label(protocol_key="a", fd=4.0)):
        store.write(label)
    assert store.read_series(first.key.series) == {
        first.arch_key: first,
        second.arch_key: second,
    }
    assert store.read(second.key) == second
    assert second.key in store
    store.remove(second.key)
    assert second.key not in store
    with pytest.raises(InputError, match=f"{second.arch_key}.*readable"):
        store.read(second.key)


def test_a_label_is_published_once(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    assert store.publish(make_label(fd=1.0))
    assert not store.publish(make_label(fd=2.0))
    assert [label.scalar("fd") for label in store.read_all()] == [1.0]


@pytest.mark.parametrize(
    ("kind", "passing"),
    [
        ("architecture", False),
        ("memory", True),
        ("device", True),
        ("time", False),
        ("lost", False),
    ],
)
def test_only_a_fault_of_a_machine_passes(kind: FailureKind, *, passing: bool) -> None:
    failure = Failure(kind=kind, message="it broke", phase="sampling")
    assert failure.is_passing is passing
    assert str(failure) == "it broke (in sampling)"
