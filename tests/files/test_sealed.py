"""A sealed file is an ordinary safetensors file in which any changed bit is noticed."""

from __future__ import annotations

import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from sdsearch.files import (
    UNSEALED,
    DamagedFileError,
    check_records,
    check_sealed,
    read_sealed,
    write_sealed,
)

TENSORS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "sha256": np.ones(3, np.int64)}


@pytest.fixture
def sealed(tmp_path):
    path = tmp_path / "some.safetensors"
    write_sealed(path, save(TENSORS, metadata=dict(UNSEALED)))
    return path


def test_any_reader_of_safetensors_reads_a_sealed_file(sealed):
    found = load_file(sealed)
    assert found.keys() == TENSORS.keys()
    assert all(np.array_equal(found[name], TENSORS[name]) for name in found)
    assert read_sealed(sealed) == sealed.read_bytes()


def test_a_bit_that_flips_in_any_byte_is_noticed(sealed):
    whole = sealed.read_bytes()
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        sealed.write_bytes(flipped)
        with pytest.raises(DamagedFileError):
            read_sealed(sealed)


@pytest.mark.parametrize("kept", [0, 7, 8, 40, -1])
def test_a_file_that_was_cut_is_noticed(sealed, kept):
    sealed.write_bytes(sealed.read_bytes()[:kept])
    with pytest.raises(DamagedFileError):
        read_sealed(sealed)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"sha256": ""}])
def test_a_file_without_a_seal_is_refused(tmp_path, metadata):
    path = tmp_path / "plain.safetensors"
    save_file(TENSORS, path, metadata)
    with pytest.raises(DamagedFileError):
        read_sealed(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no such pipes")
@pytest.mark.parametrize("read", [read_sealed, check_sealed, check_records])
def test_a_pipe_in_the_place_of_a_sealed_file_is_damage_and_is_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedFileError, match="must be a file"):
        read(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")
