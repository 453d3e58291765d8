from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.errors import WorkError
from sdsearch.weights.tensorfiles import TensorFiles
from sdsearch.weights.writing import METADATA, write_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

CASES: dict[str, dict[str, Tensor]] = {
    "of one precision": {"b": torch.randn(3, 4), "a": torch.randn(2), "c.weight": torch.ones(1)},
    "of several": {
        "half": torch.randn(3).half(),
        "ids": torch.arange(5)[None],
        "single": torch.randn(2, 2),
        "another": torch.randn(1).half(),
    },
    "a number": {"scale": torch.tensor(2.5)},
    "an empty one": {"none": torch.zeros(0, 3), "one": torch.ones(1)},
    "truths": {"mask": torch.tensor([True, False])},
    "of a name beyond ASCII": {"größe": torch.ones(2)},
    "bfloat16": {"x": torch.randn(7).bfloat16()},
    "none": {},
}


@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_the_library(case: str, tmp_path: Path) -> None:
    save_file(CASES[case], tmp_path / "meant", METADATA)
    write_tensors(tmp_path / "found", CASES[case])
    assert (tmp_path / "found").read_bytes() == (tmp_path / "meant").read_bytes()


@pytest.mark.parametrize("case", CASES)
def test_half_precision_is_that_of_torch_and_leaves_integers(case: str, tmp_path: Path) -> None:
    halves = {
        name: one.half() if one.is_floating_point() else one for name, one in CASES[case].items()
    }
    write_tensors(tmp_path / "found", CASES[case], half=True)
    found = load_file(tmp_path / "found")
    assert found.keys() == halves.keys()
    assert all(found[name].dtype == one.dtype for name, one in halves.items())
    assert all(torch.equal(found[name], one) for name, one in halves.items())


def test_files_are_read_one_tensor_at_a_time_and_a_stride_does_not_matter(tmp_path: Path) -> None:
    tensors = {"turned": torch.randn(4, 3).T, "plain": torch.randn(2)}
    write_tensors(tmp_path / "first", tensors)
    write_tensors(tmp_path / "second", TensorFiles(tmp_path / "first"), rename=str.upper)
    found = load_file(tmp_path / "second")
    assert found.keys() == {"TURNED", "PLAIN"}
    assert torch.equal(found["TURNED"], tensors["turned"])


class Watched(Mapping[str, torch.Tensor]):
    """Makes tensors when asked, and notes how many of them are alive at once."""

    def __init__(self) -> None:
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.most = 0

    def __getitem__(self, name: str) -> Tensor:
        tensor = torch.full((8,), float(name))
        self.alive.add(tensor)
        self.most = max(self.most, len(self.alive))
        return tensor

    def __iter__(self) -> Iterator[str]:
        return map(str, range(len(self)))

    def __len__(self) -> int:
        return 40


@pytest.mark.parametrize("half", [False, True])
def test_no_second_tensor_is_kept_while_one_is_written(half: bool, tmp_path: Path) -> None:
    gc.collect()
    source = Watched()
    write_tensors(tmp_path / "file", source, half=half)
    assert source.most <= 2, "the one before, until it is replaced, and its successor"
    assert load_file(tmp_path / "file")["39"].tolist() == [39.0] * 8


@pytest.mark.parametrize("value", [1e5, -1e5, float("inf"), float("nan")])
def test_values_beyond_half_precision_are_refused_by_name(value: float, tmp_path: Path) -> None:
    tensors = {"fine": torch.ones(1), "wide.weight": torch.tensor([1.0, value])}
    write_tensors(tmp_path / "single", tensors)
    with pytest.raises(WorkError, match=r"half precision, but wide\.weight"):
        write_tensors(tmp_path / "half", tensors, half=True)


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        write_tensors(tmp_path / "file", {"a": torch.ones(1)})
    assert (tmp_path / "file").read_text() == "mine"
