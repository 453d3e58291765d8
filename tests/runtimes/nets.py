"""A net of five layers in torch and as an ONNX graph made by hand: two of them stay in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

if TYPE_CHECKING:
    from pathlib import Path

SIDE, WIDTH, TOKENS = 6, 8, 5


class Small(nn.Module):
    """What the graph of `write_graph` computes, called as a UNet is."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.resnets = nn.ModuleList([nn.Conv2d(WIDTH, WIDTH, 3, padding=1)])
        self.attentions = nn.ModuleList([nn.Linear(WIDTH, WIDTH, bias=False)])
        self.time_embedding = nn.Linear(1, WIDTH)
        self.last = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, sample: Tensor, timestep: Tensor, words: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        """(n, 3, SIDE, SIDE), (n,), (n, TOKENS, WIDTH) -> (n, WIDTH, SIDE, SIDE)."""
        del return_dict
        seen = self.resnets[0](self.conv_in(sample))
        said = self.attentions[0](words).mean(1)  # (n, WIDTH)
        when = self.time_embedding(timestep.float()[:, None] / 1000)
        return (seen + self.last(said + when)[:, :, None, None],)


def make_small(seed: int = 0) -> Small:
    """The net with seeded weights."""
    net, generator = Small(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return net.eval()


def questions(count: int, seed: int = 1) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Seeded inputs, one sample each."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(1, 3, SIDE, SIDE, generator=generator),
            torch.randint(1000, (1,), generator=generator),
            torch.randn(1, TOKENS, WIDTH, generator=generator),
        )
        for _ in range(count)
    ]


def feed(question: tuple[Tensor, Tensor, Tensor]) -> dict[str, np.ndarray]:
    """A question by the names of the graph's inputs."""
    names = ("sample", "timestep", "encoder_hidden_states")
    return {name: one.numpy() for name, one in zip(names, question, strict=True)}


def write_graph(net: Small, folder: Path) -> Path:
    """`folder`/model.onnx with its data beside it, weights named as torch.onnx names them."""
    folder.mkdir(parents=True)
    state = net.state_dict()
    kept = {f"unet.{name}": value for name, value in state.items()}
    kept["val_1"] = kept.pop("unet.attentions.0.weight").T.contiguous()
    weights = [numpy_helper.from_array(value.numpy(), name) for name, value in kept.items()]
    shape = numpy_helper.from_array(np.array([-1, WIDTH, 1, 1]), "shape")
    axis = numpy_helper.from_array(np.array([1]), "axis")
    scale = numpy_helper.from_array(np.array(1000, np.float32), "thousand")

    def conv(name: str, entering: str, leaving: str) -> onnx.NodeProto:
        given = [entering, f"unet.{name}.weight", f"unet.{name}.bias"]
        return helper.make_node("Conv", given, [leaving], f"node_{leaving}", pads=[1, 1, 1, 1])

    def gemm(name: str, entering: str, leaving: str) -> onnx.NodeProto:
        given = [entering, f"unet.{name}.weight", f"unet.{name}.bias"]
        return helper.make_node("Gemm", given, [leaving], f"node_{leaving}", transB=1)

    nodes = [
        conv("conv_in", "sample", "seen"),
        conv("resnets.0", "seen", "looked"),
        helper.make_node("MatMul", ["encoder_hidden_states", "val_1"], ["read"], "node_read"),
        helper.make_node("ReduceMean", ["read", "axis"], ["said"], "node_said", keepdims=0),
        helper.make_node("Cast", ["timestep"], ["number"], "node_number", to=TensorProto.FLOAT),
        helper.make_node("Div", ["number", "thousand"], ["part"], "node_part"),
        helper.make_node("Unsqueeze", ["part", "axis"], ["row"], "node_row"),
        gemm("time_embedding", "row", "when"),
        helper.make_node("Add", ["said", "when"], ["both"], "node_both"),
        gemm("last", "both", "ended"),
        helper.make_node("Reshape", ["ended", "shape"], ["wide"], "node_wide"),
        helper.make_node("Add", ["looked", "wide"], ["out_sample"], "node_out"),
    ]
    kind = helper.make_tensor_value_info
    inputs = [
        kind("sample", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]),
        kind("timestep", TensorProto.INT64, ["batch"]),
        kind("encoder_hidden_states", TensorProto.FLOAT, ["batch", TOKENS, WIDTH]),
    ]
    outputs = [kind("out_sample", TensorProto.FLOAT, ["batch", WIDTH, SIDE, SIDE])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [*weights, shape, axis, scale])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    onnx.checker.check_model(model)
    onnx.save_model(
        model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data"
    )
    return folder
