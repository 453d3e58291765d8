"""Nets: the UNet of an export as torch, onnxruntime or torchao compute it, called alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sdsearch.pipelines import open_pipeline, read_part
from sdsearch.weights import load_unet_part
from sdsearch_eval.devices import HOST, place_net

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffusers import UNet2DConditionModel


class OnnxUNet(nn.Module):
    """A UNet that onnxruntime computes on the processor, called as diffusers calls its own.

    It has what sampling asks of a UNet: `config` and `dtype`. Its threads are torch's.
    """

    dtype = torch.float32

    def __init__(self, file: Path, config: Mapping[str, Any]) -> None:
        """Open the `model.onnx` of a UNet whose stock configuration is `config`."""
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self.config = config
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )

    @property
    def fixed_shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a file takes beside its batch: (channels, h, w) of samples, (tokens, width)."""
        shapes = {one.name: tuple(one.shape[1:]) for one in self._session.get_inputs()}
        return shapes["sample"], shapes["encoder_hidden_states"]

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        return_dict: bool = False,
    ) -> tuple[Tensor]:
        """(n, channels, h, w), () or (n,), (n, tokens, width) -> (n, 4, h, w), in a tuple."""
        del return_dict
        given = {
            "sample": sample,
            "timestep": timestep.to(torch.int64).expand(len(sample)),
            "encoder_hidden_states": encoder_hidden_states,
        }
        feed = {name: one.contiguous().numpy() for name, one in given.items()}
        (found,) = self._session.run(None, feed)
        return (torch.from_numpy(found),)


def open_torch(folder: Path) -> UNet2DConditionModel:
    """The UNet of a pipeline's folder in float32, on the processor, as labels have it."""
    return place_net(load_unet_part(read_part(open_pipeline(str(folder)), "unet")), HOST)
