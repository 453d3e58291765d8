"""One door for foreign files: what is wrong with one is an InputError, before anything is built."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from sdsearch.errors import InputError
from sdsearch.files import reading
from sdsearch.files.reading import (
    check_file,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    read_toml,
)
from sdsearch.labels.store import read_label, read_label_table
from sdsearch.report.findings import list_predictors
from sdsearch.space.lookup import find_member
from sdsearch.space.space import search_space
from sdsearch.weights.tensorfiles import TensorFiles
from sdsearch_eval.metrics import references
from tests.fakes import make_study, measured, tiny_member
from tests.hostile.broken import DEEP, DIGITS

READERS = {
    "text": read_text,
    "JSON": read_json,
    "JSON lines": read_json_lines,
    "TOML": read_toml,
    "label": read_label,
    "tensors": TensorFiles,
    "statistics": lambda file: references.read_gaussian(file, 8),
}


@pytest.mark.skipif(os.name == "nt", reason="there are no pipes in a file's place")
@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "device", "name"])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_file_is_refused_before_it_is_opened(read, what, tmp_path):
    file = tmp_path / ("a\0b" if what == "name" else "a")
    if what == "folder":
        file.mkdir()
    elif what == "pipe":
        os.mkfifo(file)  # to read it would wait for ever
    elif what == "device":
        file.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="must be"):
        read(file)


def test_a_file_is_measured_before_it_is_read(tmp_path):
    large = tmp_path / "large.json"
    with large.open("wb") as stream:
        stream.truncate(reading.LARGEST_JSON + 1)  # holds nothing on the disk
    with pytest.raises(InputError, match="at most 8,000,000 bytes"):
        read_json(large)
    with pytest.raises(InputError, match="at most 10 bytes"):
        check_file(large, 10)


def test_a_small_file_takes_little_memory(tmp_path):
    small = tmp_path / "a.txt"
    small.write_bytes(b"a caption")
    tracemalloc.start()
    try:
        assert read_bytes(small) == b"a caption"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no file here hides its size")
def test_a_file_that_does_not_say_its_size_is_read_up_to_the_limit(tmp_path):
    file = tmp_path / "a"
    file.symlink_to("/proc/self/status")
    assert file.stat().st_size == 0
    with pytest.raises(InputError, match="at most 10 bytes"):
        read_bytes(file, 10)


WRONG = {
    "an array": "[1]",
    "a number": "7",
    "nothing": "",
    "nesting": DEEP,
    "nested objects": '{"a":' * 2_000 + "1" + "}" * 2_000,
    "digits": f'{{"a": {DIGITS}}}',
    "negative digits": f'{{"a": -{DIGITS}}}',
    "half a pair": '{"a": "\\ud800"}',
    "a NUL": '{"a": "\0"}',
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize(
    "read",
    [read_json, read_label, lambda file: find_member(str(file), search_space("tiny"))],
    ids=["object", "label", "member"],
)
def test_json_that_cannot_be_worked_with_is_refused_by_its_file(read, text, tmp_path):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"config\.json") as refused:
        read(file)
    str(refused.value).encode()


@pytest.mark.parametrize("text", [f"a = {DIGITS}", f"a = {'[' * 2_000}", "a = '\\", "\0"])
def test_toml_that_cannot_be_worked_with_is_refused_by_its_file(text, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"own\.toml"):
        read_toml(file)


@given(st.text(st.sampled_from("a\u2028\u2029\x0b\x0c\x1c\x85"), max_size=8))
def test_lines_of_json_are_cut_at_newlines_only(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("lines") / "a.jsonl"
    rows = [{"text": text}, {"text": "b"}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    assert [json.loads(line) for line in read_json_lines(file)] == rows


def test_a_table_of_labels_may_hold_any_separator_in_its_words(tmp_path):
    label = measured(tiny_member(), 2.0)
    label = label.model_copy(update={"provenance": {"note": "a\u2028b\x85c"}})
    row = json.loads(label.to_json())
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_label_table(file) == [label]


def with_header(tensors: dict[str, np.ndarray], **changes: object) -> bytes:
    """A safetensors file of which some tensors are said to be otherwise."""
    data = save(tensors)
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    for name, change in changes.items():
        header[name] = header.get(name, {"dtype": "F32", "shape": [1]}) | change
    said = json.dumps(header).encode()
    return struct.pack("<Q", len(said)) + said + data[8 + length :]


TWO = {"a": np.zeros(4, np.float32), "b": np.zeros(4, np.float32)}
HEADERS = {
    "one extent for many": {f"t{n}": {"shape": [4], "data_offsets": [0, 16]} for n in range(200)},
    "overlapping": {"b": {"data_offsets": [8, 24]}},
    "a gap": {"a": {"shape": [2], "data_offsets": [0, 8]}},
    "negative sides": {"a": {"shape": [-2, -2]}},
    "endless sides": {"a": {"shape": [0, 10**30], "data_offsets": [0, 0]}},
    "fractions": {"a": {"data_offsets": [0.0, 16.0]}},
    "truths": {"a": {"shape": [True, 4]}},
    "words": {"a": {"shape": "4"}},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
def test_tensors_lie_side_by_side_and_fill_their_file(changes, tmp_path):
    file = tmp_path / "a.safetensors"
    file.write_bytes(with_header(TWO, **changes))
    with pytest.raises(InputError, match=r"a\.safetensors"):
        TensorFiles(file)


def test_a_tensor_is_in_one_shard_alone(tmp_path):
    for name in ("1", "2"):
        (tmp_path / name).write_bytes(save({"a": TWO["a"], name: TWO["b"]}))
    with pytest.raises(InputError, match="'a' is in two"):
        TensorFiles(tmp_path / "1", tmp_path / "2")


def test_tensors_of_no_values_and_in_any_order_are_read(tmp_path):
    file = tmp_path / "a.safetensors"
    empty = {"none": np.ones((2, 0), np.float32), "half": np.ones(3, np.float16)}
    file.write_bytes(save(TWO | empty))
    found = TensorFiles(file)
    assert found.shape("none") == (2, 0)
    assert torch.equal(found["half"], torch.ones(3, dtype=torch.float16))


@pytest.mark.parametrize("report", [[], {"predictors": [1]}, {"predictors": {"gnn": {}}}])
def test_a_fit_that_reports_nothing_is_refused_in_words(report, tmp_path):
    made = make_study(tmp_path)
    made.make(made.ranker_dir)
    (made.ranker_dir / "ranker.json").write_text(json.dumps({"report": report}))
    with pytest.raises(InputError, match="must hold the report of a fit"):
        list_predictors(made)


def test_the_sides_of_a_tensor_are_counted_before_they_are_multiplied(tmp_path):
    file = tmp_path / "a.safetensors"
    entry = {"dtype": "U8", "shape": [(1 << 40) - 1] * 65, "data_offsets": [0, 1]}
    header = json.dumps({"a": entry}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + b"-")
    with pytest.raises(InputError, match="'a' has 65 sides"):
        TensorFiles(file)


def test_statistics_that_unpack_to_far_more_are_not_read(tmp_path, monkeypatch):
    file = tmp_path / "bomb.npz"
    np.savez_compressed(file, mu=np.zeros(8), sigma=np.zeros(1 << 18))
    assert file.stat().st_size < 1 << 13
    monkeypatch.setattr(references, "_LARGEST_ARRAY", 1 << 20)
    with pytest.raises(InputError, match="sigma would have 2,097,"):
        references.read_gaussian(file, 8)


def test_statistics_of_small_numbers_are_not_blown_up(tmp_path, monkeypatch):
    file = tmp_path / "bytes.npz"
    np.savez_compressed(file, mu=np.zeros(8), sigma=np.zeros(1 << 18, np.int8))
    monkeypatch.setattr(references, "_LARGEST_ARRAY", 1 << 20)
    with pytest.raises(InputError, match="sigma would have 262,144 numbers"):
        references.read_gaussian(file, 8)


def test_damaged_statistics_are_refused_in_words(tmp_path):
    file = tmp_path / "a.npz"
    np.savez_compressed(file, mu=np.arange(900.0), sigma=np.zeros(9))
    data = bytearray(file.read_bytes())
    data[200:400] = bytes(200)
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.npz must hold mu and sigma"):
        references.read_gaussian(file, 900)
