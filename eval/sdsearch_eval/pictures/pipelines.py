"""Whole pipelines side by side: any SD v1.4-family folder, pruned or not, at its own resolution."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import read_json
from sdsearch.pipelines import open_pipeline, read_part
from sdsearch.unet import native_size
from sdsearch.weights import load_unet_part
from sdsearch_eval.devices import place_net
from sdsearch_eval.models import Components, load_components
from sdsearch_eval.sampling import (
    Generated,
    generate,
    measure_costs,
    measure_latency,
    prepare_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from diffusers import UNet2DConditionModel

    from sdsearch.labels import Latency, PipelineCost, Protocol
    from sdsearch_eval.data import Sample

LEAST_WIDTH_OF_A_REAL_MODEL = 768
"""Cross-attention width of SD v1.x: anything narrower is a tiny model, which needs no guidance."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A UNet with what surrounds it; `size` is the side of its images in pixels."""

    name: str
    components: Components
    unet: UNet2DConditionModel
    size: int

    @property
    def params(self) -> int:
        """Parameters of the UNet."""
        return sum(parameter.numel() for parameter in self.unet.parameters())

    @property
    def guidance(self) -> float:
        """The usual guidance scale of such a model."""
        width = int(self.unet.config.cross_attention_dim)
        return 7.5 if width >= LEAST_WIDTH_OF_A_REAL_MODEL else 1.0

    def paint(self, samples: Sequence[Sample], protocol: Protocol, seed: int) -> Generated:
        """Paint at this pipeline's size."""
        inputs = prepare_inputs(self.components, samples, seed)
        return generate(self.unet, self.components, inputs, samples, protocol)

    def time_call(self, sample: Sample, seed: int) -> Latency:
        """How long one UNet call takes."""
        return measure_latency(self.unet, prepare_inputs(self.components, [sample], seed))

    def cost(self, sample: Sample, protocol: Protocol, seed: int) -> PipelineCost:
        """What a UNet call, and painting all of `sample`, takes at this pipeline's size."""
        inputs = prepare_inputs(self.components, [sample], seed)
        return measure_costs(self.name, self.unet, self.components, inputs, sample, protocol)


def load_pipeline(where: str, device: torch.device) -> Pipeline:
    """Load "tiny", a local diffusers folder or a hub id.

    Raises:
        InputError: it is no such pipeline, or its UNet is of another family.
    """
    folder = open_pipeline(where)
    unet = load_unet_part(read_part(folder, "unet"))
    components = load_components(folder, device)
    side = native_size(unet.config) * components.latent_factor
    unet = place_net(unet.requires_grad_(False), device)
    return Pipeline(_name(where, folder.folder), components, unet, side)


def _name(where: str, folder: Path) -> str:
    """The design's name where the folder is an export, else its own, or the hub id's last part."""
    if where == "tiny":
        return "tiny teacher"
    try:
        said = read_json(folder / "design.json")["name"]
    except (InputError, KeyError):
        return Path(where).resolve().name if Path(where).exists() else where.split("/")[-1]
    return str(said)
