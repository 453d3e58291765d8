"""A fitted ranker on disk: safetensors and JSON, read strictly, without pickle."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import Field

from sdsearch.design import RANKER_SCHEMA, PredictorKind
from sdsearch.errors import InputError
from sdsearch.files import read_json_bytes, write_atomic
from sdsearch.model import SealedModel
from sdsearch.ranker.baselines import Forest, Linear
from sdsearch.ranker.features import FeatureLayout
from sdsearch.ranker.fit import FitReport, FittedRanker
from sdsearch.ranker.net import Ranker
from sdsearch.ranker.training import FittedNet, RankerConfig
from sdsearch.unet import UNIT_NAMES

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class _RankerFile(SealedModel):
    """`ranker.json`: all that is not a tensor; `layouts` are those of the nets."""

    schema_version: Literal[3] = Field(RANKER_SCHEMA, alias="schema")
    config: RankerConfig
    layout: FeatureLayout
    layouts: dict[PredictorKind, FeatureLayout]
    baselines: tuple[PredictorKind, ...]
    report: FitReport


def save_ranker(fitted: FittedRanker, folder: Path) -> None:
    """Write `ranker.safetensors` and `ranker.json`; loading gives bit-identical predictions."""
    tensors: dict[str, Tensor] = {}
    for name, net in fitted.nets.items():
        state = net.ranker.state_dict() | {"centre": net.centre, "spread": net.spread}
        tensors |= {f"{name}.{part}": value for part, value in state.items()}
    for name, model in fitted.baselines.items():
        tensors |= {
            f"{name}.{field.name}": torch.from_numpy(np.asarray(getattr(model, field.name)))
            for field in fields(model)
        }
    for axis, errors in enumerate(fitted.errors or ()):
        tensors[f"errors.{axis}"] = torch.from_numpy(errors)
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_atomic(folder / "ranker.safetensors", safetensors.torch.save(tensors), folder.parent)
    described = _RankerFile(
        config=fitted.config,
        layout=fitted.layout,
        layouts={name: net.layout for name, net in fitted.nets.items()},
        baselines=tuple(fitted.baselines),
        report=fitted.report,
    )
    write_atomic(folder / "ranker.json", described.to_json(indent=2))


def load_ranker(folder: Path) -> FittedRanker:
    """Read what `save_ranker` wrote; strict: a missing, extra or misshapen tensor is an error."""
    try:
        described = _RankerFile.model_validate_json(read_json_bytes(folder / "ranker.json"))
        tensors = safetensors.torch.load_file(folder / "ranker.safetensors")
        return _assemble(described, tensors)
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{folder} must hold a fitted ranker of schema {RANKER_SCHEMA}, but: {error};"
            " refit: sdsearch fit STUDY"
        ) from error


def _assemble(described: _RankerFile, tensors: dict[str, Tensor]) -> FittedRanker:
    nets = {
        name: _take_net(f"{name}.", layout, described, tensors)
        for name, layout in described.layouts.items()
    }
    baselines: dict[PredictorKind, Linear | Forest] = {}
    for name in described.baselines:
        model: type[Linear | Forest] = Forest if name == "forest" else Linear
        parts = [tensors.pop(f"{name}.{field.name}").numpy() for field in fields(model)]
        baselines[name] = model(*parts)
    errors = None
    if "errors.0" in tensors:
        errors = tuple(tensors.pop(f"errors.{axis}").numpy() for axis in range(len(UNIT_NAMES)))
    if tensors:
        raise ValueError(f"unknown tensors {sorted(tensors)}")
    if described.report.kind not in nets.keys() | baselines.keys():
        raise ValueError(f"the predictor in use, {described.report.kind}, is missing")
    return FittedRanker(
        described.config, described.layout, described.report, nets, baselines, errors
    )


def _take_net(
    prefix: str, layout: FeatureLayout, described: _RankerFile, tensors: dict[str, Tensor]
) -> FittedNet:
    config = described.config
    ranker = Ranker(described.report.members, layout, config.hops, config.width, torch.Generator())
    state = {name: tensors.pop(f"{prefix}{name}") for name in ranker.state_dict()}
    ranker.load_state_dict(state, strict=True)
    return FittedNet(layout, ranker, tensors.pop(f"{prefix}centre"), tensors.pop(f"{prefix}spread"))
