"""What thousands of prompts take in memory: counted, since a test cannot paint thousands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sdsearch.labels.protocol import Protocol
from sdsearch.labels.recovery import RecoveryRecipe
from sdsearch_eval.bench import bench as benches
from sdsearch_eval.bench.bench import Bench, prepare_bench
from sdsearch_eval.models import components
from sdsearch_eval.sampling import sampling

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from sdsearch_eval.models import Teacher

FLOAT = 4


def prepare(count: int, teacher: Teacher, folder: Path) -> Bench:
    """The bench of so many prompts of a file, compared with scenes."""
    file = folder / f"{count}.txt"
    file.write_text("".join(f"a house with {n} trees\n" for n in range(count)), encoding="utf-8")
    protocol = Protocol(
        task="text-to-image",
        prompts=str(file),
        samples=count,
        block_size=2,
        steps=1,
        feature_size=32,
        recovery=RecoveryRecipe(steps=0),
    )
    return prepare_bench(protocol, 0, teacher, folder / "features")


def held(bench: Bench) -> int:
    """Bytes of all that a bench holds for its samples, each array and storage once."""
    arrays = {id(one): one.nbytes for s in bench.samples for one in (s.image, s.mask)}
    tensors = [*bench.inputs.rows().values(), bench.teacher_latents, bench.teacher_pooled]
    storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    return sum(arrays.values()) + sum(storages.values())


def test_a_prompt_takes_its_noise_words_and_latents_and_no_picture(
    teacher: Teacher, tmp_path: Path
) -> None:
    few, more = (prepare(count, teacher, tmp_path) for count in (4, 10))
    cells, text = few.inputs.noise[0, 0].numel(), few.inputs.text[0].numel()
    a_prompt = FLOAT * (2 * 4 * cells + text + few.teacher_pooled.shape[1])
    assert held(more) - held(few) == 6 * a_prompt
    assert few.references.features.maps == []


def test_the_teacher_paints_many_prompts_some_at_a_time(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted = []

    def generate(unet, teacher, inputs, samples, protocol):
        painted.append(len(samples))
        return paint(unet, teacher, inputs, samples, protocol)

    paint = benches.generate
    monkeypatch.setattr(benches, "generate", generate)
    bench = prepare(40, teacher, tmp_path)
    assert painted == [32, 8]
    assert bench.teacher_latents.shape[0] == bench.teacher_pooled.shape[0] == 40


def test_inputs_are_the_same_however_few_are_made_at_a_time(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdsearch_eval.data.samples import load_samples

    samples = load_samples(Protocol(samples=5))
    whole = sampling.prepare_inputs(teacher, samples, 0)
    monkeypatch.setattr(sampling, "AT_ONCE", 2)
    monkeypatch.setattr(components, "CAPTIONS_AT_ONCE", 2)
    parts = sampling.prepare_inputs(teacher, samples, 0)
    for name, rows in whole.rows().items():
        assert torch.allclose(rows, parts.rows()[name], atol=1e-5), name
    kept = whole.compact()
    assert {name for name, rows in kept.items() if len(rows) == 1} == {"empty_text"}
    again = sampling.UNetInputs.expand(kept)
    assert all(torch.equal(rows, again.rows()[name]) for name, rows in whole.rows().items())
