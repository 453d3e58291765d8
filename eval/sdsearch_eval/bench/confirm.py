"""Confirming: whether weights that are made again paint the images that a label was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import WorkError
from sdsearch_eval.bench.evaluate import evaluate_architecture
from sdsearch_eval.bench.kept import load_recovered
from sdsearch_eval.bench.rows import IMAGE_HASH, measure_rows
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.sampling import generate

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels import Label
    from sdsearch_eval.bench.bench import Bench


def confirm_label(label: Label, bench: Bench, rows: Path, weights: Path, again: Path) -> Label:
    """The label itself, or one measured again where the weights paint other images.

    Another GPU, or another version of a library, rounds otherwise. The images of the first block
    are compared by their hashes with those of the label's `rows`. A label without rows, as an
    imported one is, is believed.

    Args:
        label: what is known.
        bench: of the label's series.
        rows: the folder of the label's rows.
        weights: those that were made again.
        again: the folder where rows go if the label is measured again.

    Raises:
        WorkError: this machine, not the architecture, failed.
    """
    if Shards(rows, len(bench.blocks)).missing() or _paints_the_same(label, bench, rows, weights):
        return label
    found = evaluate_architecture(label.architecture, bench, again, weights)
    assert found is not None, "one process works alone"
    if found.failure and found.failure.is_passing:
        raise WorkError(f"{label.arch_key} could not be measured again: {found.failure}")
    return found


def _paints_the_same(label: Label, bench: Bench, rows: Path, weights: Path) -> bool:
    block = bench.blocks[0]
    unet = load_recovered(label.architecture, bench, weights)
    inputs, samples = bench.inputs.select(block), bench.samples[block]
    made = generate(unet, bench.teacher, inputs, samples, bench.protocol)
    known = Shards(rows, len(bench.blocks)).read()[IMAGE_HASH][block]
    return bool((measure_rows(made, block, bench)[IMAGE_HASH] == known).all())
