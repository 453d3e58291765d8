import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdsearch.files import write_atomic


def test_text_is_written_as_utf8_and_parents_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.json"
    write_atomic(path, "é")
    assert path.read_bytes() == "é".encode()
    assert os.listdir(path.parent) == ["c.json"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "c.json"
    write_atomic(path, b"old")

    def full_disk(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["c.json"]


def test_many_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "c.json"
    texts = [str(i) * 20_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomic(path, text), texts))
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["c.json"]
