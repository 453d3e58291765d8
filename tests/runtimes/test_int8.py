"""An int8 graph against the same rounding by hand in torch, on a net of five layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnxruntime
import pytest
import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.runtimes.int8 import quantize_unet
from sdsearch.runtimes.layers import count_quantized, find_layers
from sdsearch.runtimes.rounding import rounded, watch_ranges
from tests.runtimes.nets import WIDTH, feed, make_small, questions, write_graph

if TYPE_CHECKING:
    from pathlib import Path

QUANTIZED = ("resnets.0", "attentions.0", "last")


def answer(folder: Path, question: tuple[torch.Tensor, ...]) -> torch.Tensor:
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (found,) = session.run(None, feed(question))  # type: ignore[arg-type]
    return torch.from_numpy(found)


def test_the_int8_graph_computes_what_rounding_by_hand_does(tmp_path: Path) -> None:
    net, calibrating = make_small(), questions(8)
    source = write_graph(net, tmp_path / "float")
    (asked,) = questions(1, seed=2)
    with torch.no_grad():
        whole = net(*asked)[0]
    assert torch.allclose(answer(source, asked), whole, atol=1e-5)
    quantize_unet(source, tmp_path / "int8", net, [feed(one) for one in calibrating])
    layers = find_layers(net)
    assert tuple(layers) == QUANTIZED
    ranges = watch_ranges(net, layers, calibrating)
    with rounded(layers, ranges, QUANTIZED), torch.no_grad():
        meant = net(*asked)[0]
    found = answer(tmp_path / "int8", asked)
    lost = float((meant - whole).abs().max())
    assert lost > 5e-3, "rounding moves the answer"
    # A value between two steps may go either way: a step of the last convolution at most.
    step = (ranges["resnets.0"].leaving.high - ranges["resnets.0"].leaving.low) / 255
    assert float((found - meant).abs().max()) < 1.1 * step
    assert float((found - meant).abs().mean()) < 0.1 * float((meant - whole).abs().mean())


def test_what_the_file_saves_is_what_was_counted(tmp_path: Path) -> None:
    net = make_small()
    source = write_graph(net, tmp_path / "float")
    found = quantize_unet(source, tmp_path / "int8", net, [feed(one) for one in questions(2)])
    numbers = WIDTH * WIDTH * (9 + 1 + 1)
    assert found == count_quantized(net)
    assert found.float_bytes == 4 * numbers
    assert found.quantized_bytes == numbers + 5 * 3 * WIDTH
    assert found.kept_bytes == 4 * sum(
        one.numel()
        for name, one in net.state_dict().items()
        if name.removesuffix(".weight") not in QUANTIZED
    )


def test_what_stays_in_float_is_bit_equal_and_nothing_is_left_beside(tmp_path: Path) -> None:
    import onnx

    net = make_small()
    source = write_graph(net, tmp_path / "float")
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    quantize_unet(source, tmp_path / "int8", net, [feed(one) for one in questions(2)])
    kept = {one.name: one for one in onnx.load(tmp_path / "int8" / "model.onnx").graph.initializer}
    for name in ("conv_in.weight", "time_embedding.weight"):
        found = torch.from_numpy(onnx.numpy_helper.to_array(kept[f"unet.{name}"]).copy())
        assert torch.equal(found, net.state_dict()[name])
    assert {file.name: file.read_bytes() for file in source.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["float", "int8"]
    assert {path.name for path in (tmp_path / "int8").iterdir()} <= {
        "model.onnx",
        "model.onnx.data",
    }


def test_a_graph_that_lacks_a_layer_of_the_unet_is_refused(tmp_path: Path) -> None:
    net = make_small()
    source = write_graph(net, tmp_path / "float")
    net.add_module("forgotten", torch.nn.Linear(WIDTH, WIDTH))
    with pytest.raises(WorkError, match="must hold the UNet's 4 layers"):
        quantize_unet(source, tmp_path / "int8", net, [feed(one) for one in questions(2)])
    assert not (tmp_path / "int8").exists()


def test_ranges_need_something_to_be_taken_on(tmp_path: Path) -> None:
    source = write_graph(make_small(), tmp_path / "float")
    with pytest.raises(InputError, match="inputs to take ranges on"):
        quantize_unet(source, tmp_path / "int8", make_small(), [])
