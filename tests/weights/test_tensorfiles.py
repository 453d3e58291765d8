import pytest
import torch
from safetensors.torch import load_file, save_file

from sdsearch.errors import InputError
from sdsearch.weights.tensorfiles import TensorFiles


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "a": torch.randn(5, 3, generator=generator),
        "half": torch.randn(7, generator=generator).half(),
        "bfloat": torch.randn(4, 2, 2, generator=generator).bfloat16(),
        "fp8": torch.randn(6, generator=generator).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    }


@pytest.fixture
def path(tmp_path, tensors):
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    return tmp_path / "x.safetensors"


def test_it_reads_what_the_library_reads(path):
    expected = load_file(path)
    file = TensorFiles(path)
    assert set(file) == set(expected)
    assert len(file) == len(expected)
    for name, tensor in expected.items():
        assert file.shape(name) == tuple(tensor.shape)
        assert file.dtype(name) == file[name].dtype == tensor.dtype
        assert torch.equal(file[name].double(), tensor.double())
    assert "b" not in file


def test_a_tensor_is_read_into_its_place_and_converted(path, tensors):
    target = torch.zeros(6, 3)
    wide = torch.zeros(7)
    file = TensorFiles(path)
    file.read_into("a", target[1:])
    file.read_into("half", wide)
    with pytest.raises(ValueError, match="shape"):
        file.read_into("a", target)
    assert torch.equal(target[1:], tensors["a"])
    assert not target[0].any()
    assert torch.equal(wide, tensors["half"].float())


def test_shards_are_read_as_one_file(tmp_path, tensors):
    save_file({"a": tensors["a"]}, tmp_path / "1.safetensors")
    save_file({"fp8": tensors["fp8"]}, tmp_path / "2.safetensors")
    file = TensorFiles(tmp_path / "1.safetensors", tmp_path / "2.safetensors")
    assert sorted(file) == ["a", "fp8"]
    assert torch.equal(file["fp8"].float(), tensors["fp8"].float())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:-4], "cut short"),
        (lambda data: data + b"0000", "longer"),
        (lambda data: data[:5], "no readable safetensors"),
        (lambda data: b"", "no readable safetensors"),
        (lambda data: data[:8] + b"[" + data[9:], "no readable safetensors"),
        (lambda data: (1 << 60).to_bytes(8, "little") + data[8:], "no readable safetensors"),
        (lambda data: data.replace(b"[5,3]", b"[5,4]"), "extent of 'a'"),
    ],
)
def test_a_damaged_file_is_refused(path, change, reason):
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=reason):
        TensorFiles(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be readable"):
        TensorFiles(tmp_path / "none.safetensors")
