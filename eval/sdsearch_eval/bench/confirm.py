"""Confirming: whether weights that are made again paint the images that a label was measured on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sdsearch_eval.bench.evaluate import evaluate_architecture, load_recovered
from sdsearch_eval.bench.rows import IMAGE_HASH, measure_rows
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.sampling import generate

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels import Label
    from sdsearch_eval.bench.bench import Bench


def confirm_label(label: Label, bench: Bench, folder: Path, weights: Path) -> Label:
    """The label itself, or one measured again where the weights paint other images.

    Another GPU, or another version of a library, rounds otherwise. The images of the first block
    are compared by their hashes with those of the label's rows in `folder`. A label without rows,
    as an imported one is, is believed.
    """
    rows, arch, block = Shards(folder, len(bench.blocks)), label.architecture, bench.blocks[0]
    if rows.missing():
        return label
    unet = load_recovered(arch, bench, weights)
    inputs, samples = bench.inputs.select(block), bench.samples[block]
    made = generate(unet, bench.teacher, inputs, samples, bench.protocol)
    known = rows.read()[IMAGE_HASH][block]
    if (measure_rows(made, block, bench)[IMAGE_HASH] == known).all():
        return label
    shutil.rmtree(folder)
    again = evaluate_architecture(arch, bench, folder, weights)
    assert again is not None, "one process works alone"
    return again
