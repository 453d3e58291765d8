"""A fitted ranker on disk: safetensors and JSON, read strictly, without pickle."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import safetensors.torch
import torch
from pydantic import Field

from sdsearch.errors import InputError
from sdsearch.files import read_json_bytes, write_atomic
from sdsearch.model import SealedModel
from sdsearch.ranker.baselines import Forest, Linear
from sdsearch.ranker.features import FeatureLayout
from sdsearch.ranker.fit import FitReport, FittedRanker, RankerConfig
from sdsearch.ranker.net import Ranker
from sdsearch.ranker.validation import BASELINES, PredictorKind

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


class _RankerFile(SealedModel):
    """`ranker.json`: all that is not a tensor."""

    schema_version: Literal[1] = Field(1, alias="schema")
    config: RankerConfig
    layout: FeatureLayout
    report: FitReport


def save_ranker(fitted: FittedRanker, folder: Path) -> None:
    """Write `ranker.safetensors` and `ranker.json`; loading gives bit-identical predictions."""
    tensors = {f"ranker.{name}": value for name, value in fitted.ranker.state_dict().items()}
    tensors |= {"centre": fitted.centre, "spread": fitted.spread}
    for name, model in fitted.baselines.items():
        tensors |= {
            f"{name}.{field.name}": torch.from_numpy(np.asarray(getattr(model, field.name)))
            for field in fields(model)
        }
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_atomic(folder / "ranker.safetensors", safetensors.torch.save(tensors), folder.parent)
    described = _RankerFile(config=fitted.config, layout=fitted.layout, report=fitted.report)
    write_atomic(folder / "ranker.json", described.to_json(indent=2))


def load_ranker(folder: Path) -> FittedRanker:
    """Read what `save_ranker` wrote; strict: a missing, extra or misshapen tensor is an error."""
    try:
        described = _RankerFile.model_validate_json(read_json_bytes(folder / "ranker.json"))
        tensors = safetensors.torch.load_file(folder / "ranker.safetensors")
        return _assemble(described, tensors)
    except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
        raise InputError(
            f"{folder} must hold a fitted ranker of schema 1, but: {error};"
            " refit: sdsearch fit STUDY"
        ) from error


def _assemble(described: _RankerFile, tensors: dict[str, Tensor]) -> FittedRanker:
    config = described.config
    ranker = Ranker(
        described.report.members,
        described.layout.sizes,
        config.hops,
        config.width,
        torch.Generator().manual_seed(0),
    )
    state = {name: tensors.pop(f"ranker.{name}") for name in ranker.state_dict()}
    ranker.load_state_dict(state, strict=True)
    centre, spread = tensors.pop("centre"), tensors.pop("spread")
    baselines: dict[PredictorKind, Linear | Forest] = {}
    for name in BASELINES:
        model: type[Linear | Forest] = Forest if name == "forest" else Linear
        parts = [tensors.pop(f"{name}.{field.name}").numpy() for field in fields(model)]
        baselines[name] = model(*parts)
    if tensors:
        raise ValueError(f"unknown tensors {sorted(tensors)}")
    return FittedRanker(
        config, described.layout, described.report, ranker, centre, spread, baselines
    )
