"""What exported pipelines cost beside their teacher: a UNet call, and a whole picture."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from sdsearch.files import write_atomic
from sdsearch.keys import with_seal
from sdsearch.study import find_teacher
from sdsearch_eval.data import load_samples
from sdsearch_eval.pictures.pipelines import load_pipeline
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sdsearch.labels import PipelineCost
    from sdsearch.study import StudyFolder


def measure_exports(study: StudyFolder, names: Sequence[str], device: torch.device) -> None:
    """Write STUDY/pipelines/NAME/costs.json: of each export, and of the teacher beside it.

    The study's first sample is painted by its protocol and label seed. Each pipeline is loaded from
    its folder, all in this process, and one is in memory at a time.
    """
    protocol = study.config.protocol
    sample = load_samples(protocol.model_copy(update={"samples": protocol.variations}))[0]

    def measure(name: str, where: str) -> PipelineCost:
        pipeline = load_pipeline(where, device)
        unet = cast_unet(pipeline.unet, protocol.dtype)
        return replace(pipeline, name=name, unet=unet).cost(sample, protocol, study.config.seed)

    teacher = measure("teacher", find_teacher(study))
    for name in names:
        folder = study.pipelines_dir / name
        costs = measure(name, str(folder)), teacher
        described = {"schema": 1, "columns": [cost.model_dump(mode="json") for cost in costs]}
        write_atomic(folder / "costs.json", json.dumps(with_seal(described), indent=1) + "\n")
