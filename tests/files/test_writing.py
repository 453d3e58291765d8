import errno
import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from sdsearch.errors import InputError
from sdsearch.files import has_hard_links, write_atomic, write_once


def test_text_is_written_as_utf8_and_parents_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.json"
    write_atomic(path, "é", tmp_path)
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


def test_a_folder_of_the_files_name_is_no_file_and_stays(tmp_path):
    (tmp_path / "a.json" / "own").mkdir(parents=True)
    with pytest.raises(InputError, match="move it away"):
        write_atomic(tmp_path / "a.json", "{}")
    assert [one.name for one in tmp_path.rglob("*")] == ["a.json", "own"]


def test_many_writers_leave_one_whole_file(tmp_path):
    path = tmp_path / "c.json"
    texts = [str(i) * 20_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomic(path, text), texts))
    assert path.read_text() in texts
    assert os.listdir(tmp_path) == ["c.json"]


def test_of_many_that_write_once_one_is_told_that_it_did(tmp_path):
    path = tmp_path / "c.json"
    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(lambda i: write_once(path, f"{i:04d}"), range(64)))
    assert sum(told) == 1
    assert path.read_text() == f"{told.index(True):04d}"
    assert os.listdir(tmp_path) == ["c.json"]


def test_without_hard_links_a_file_is_still_written_whole_and_kept(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "c.json"
    assert write_once(path, "first")
    assert not write_once(path, "second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["c.json"]


def test_a_full_disk_is_no_missing_hard_link(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="No space"):
        write_once(tmp_path / "c.json", "x")
    assert os.listdir(tmp_path) == []


def no_links(*_):
    raise OSError(errno.EPERM, "Operation not permitted")


def test_without_hard_links_still_one_of_many_is_told_that_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    for number in range(30):
        path, ready = tmp_path / f"{number}.json", Barrier(8)

        def write(word, path=path, ready=ready):
            ready.wait()
            return write_once(path, word)

        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(write, "abcdefgh"))
        assert sum(told) == 1
        assert path.read_text() == "abcdefgh"[told.index(True)]


def test_a_name_that_was_taken_and_cannot_be_filled_is_free_again(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", no_links)
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", full)
        with pytest.raises(OSError, match="No space"):
            write_once(tmp_path / "c.json", "x")
    assert os.listdir(tmp_path) == []
    assert write_once(tmp_path / "c.json", "x")


def test_whether_there_are_hard_links_is_tried(tmp_path, monkeypatch):
    assert has_hard_links(tmp_path / "new", tmp_path)
    monkeypatch.setattr(os, "link", no_links)
    assert not has_hard_links(tmp_path / "new", tmp_path)
    assert os.listdir(tmp_path / "new") == []
