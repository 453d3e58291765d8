"""Small pictures beside an exported pipeline: what it paints, and the holes it paints into."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sdsearch_eval.data import load_samples
from sdsearch_eval.pictures.comparison import choose_rows, mask_image
from sdsearch_eval.pictures.pipelines import load_pipeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from sdsearch.study import StudyFolder

SCENES, LARGEST_SIDE, GAP = 4, 256, 4


def draw_thumbnails(study: StudyFolder, names: Sequence[str], device: torch.device) -> None:
    """Write STUDY/pipelines/NAME/thumbnails/scene-K.webp: masked on the left, painted on the right.

    Pictures from words stand alone.

    The samples with the largest holes, by the study's protocol and label seed; each pipeline is
    loaded from its folder, so that they show what was exported.
    """
    protocol = study.config.protocol
    samples = load_samples(protocol)
    shown = [samples[i] for i in choose_rows(samples, min(SCENES, len(samples)))]
    for name in names:
        folder = study.pipelines_dir / name
        pipeline = load_pipeline(str(folder), device)
        made = pipeline.paint(shown, protocol, study.config.seed)
        partial = folder / f".thumbnails-{uuid.uuid4().hex[:8]}.tmp"
        partial.mkdir()
        try:
            for number, (sample, image) in enumerate(zip(shown, made.composited, strict=True), 1):
                paper = np.full((len(image), GAP, 3), 255, np.uint8)
                sides = [image] if sample.hole.all() else [mask_image(sample), paper, image]
                pair = Image.fromarray(np.concatenate(sides, axis=1))
                pair.thumbnail((2 * LARGEST_SIDE + GAP, LARGEST_SIDE))
                pair.save(partial / f"scene-{number}.webp", quality=90)
            partial.rename(folder / "thumbnails")
        finally:
            shutil.rmtree(partial, ignore_errors=True)
