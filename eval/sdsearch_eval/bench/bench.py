"""The bench: what all architectures of one protocol and seed share, computed once per study."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import torch

from sdsearch.keys import content_key
from sdsearch.study import MachineConfig, versions
from sdsearch.unet import UNPRUNED
from sdsearch_eval.bench.content import resolve_protocol
from sdsearch_eval.bench.record import describe_environment, describe_sampling, hole_fractions
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.data import load_dataset
from sdsearch_eval.metrics import (
    extract_pictures,
    extract_references,
    join_features,
    load_scores,
    make_references,
    name_references,
)
from sdsearch_eval.nets import FEATURES_AT_ONCE, load_extractor, load_lpips
from sdsearch_eval.recovery import Lessons
from sdsearch_eval.sampling import UNetInputs, cast_unet, generate, prepare_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from sdsearch.labels import Protocol, ResolvedProtocol
    from sdsearch_eval.data import Dataset, Sample
    from sdsearch_eval.metrics import References, Scores
    from sdsearch_eval.models import Teacher
    from sdsearch_eval.nets import Extractor, Lpips

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "torchmetrics", "sdsearch")


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that labels of one protocol and seed share: samples, inputs, references."""

    resolved: ResolvedProtocol
    seed: int
    teacher: Teacher
    samples: Sequence[Sample]
    inputs: UNetInputs
    extractor: Extractor
    lpips: Lpips | None
    scores: Scores
    lessons: Lessons
    machine: MachineConfig
    references: References
    teacher_latents: Tensor
    teacher_pooled: Tensor
    provenance: dict[str, object]

    @property
    def protocol(self) -> Protocol:
        """How everything is measured."""
        return self.resolved.protocol

    @property
    def content(self) -> str:
        """A key of teacher, extractor and protocol: what rows and weights are made from."""
        return content_key(_made_from(self.resolved, self.provenance))

    @property
    def blocks(self) -> list[slice]:
        """The samples in blocks of the protocol's size: the unit of work, and of a batch."""
        size, n = self.protocol.block_size, len(self.samples)
        return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def prepare_bench(
    protocol: Protocol,
    seed: int,
    teacher: Teacher,
    features_dir: Path,
    machine: MachineConfig | None = None,
) -> Bench:
    """Compute, or read from the cache in `features_dir`, what all architectures share."""
    resolved = resolve_protocol(protocol)
    dataset = load_dataset(protocol, 0)
    samples = dataset.samples
    extractor = load_extractor(protocol.extractor)
    extractor.net.to(teacher.device)
    provenance = _describe(resolved, dataset, teacher, extractor)
    cache = TensorCache(features_dir, _made_from(resolved, provenance))
    inputs = UNetInputs.expand(
        cache.get(
            f"inputs-s{seed}",
            lambda: prepare_inputs(teacher, samples, seed).compact(),
            teacher.device,
        )
    )

    def make_teacher_outputs() -> dict[str, Tensor]:
        unet = cast_unet(teacher.student(UNPRUNED), protocol.dtype)
        # Whole blocks of samples, and whole batches of features, whatever the number of samples.
        size, parts = lcm(protocol.block_size, FEATURES_AT_ONCE), []
        for start in range(0, len(samples), size):
            part = slice(start, start + size)
            made = generate(unet, teacher, inputs.select(part), samples[part], protocol)
            found = join_features(extract_pictures(extractor, made.composited, protocol))
            parts.append((made.latents, found.pooled))
        latents, pooled = (torch.cat(rows) for rows in zip(*parts, strict=True))
        return {"latents": latents, "pooled": pooled}

    reference = cache.get("reference", lambda: extract_references(protocol, samples, extractor))
    outputs = cache.get(f"teacher-s{seed}", make_teacher_outputs, teacher.device)
    return Bench(
        resolved=resolved,
        seed=seed,
        teacher=teacher,
        samples=samples,
        inputs=inputs,
        extractor=extractor,
        lpips=load_lpips().to(teacher.device) if protocol.lpips == "alex" else None,
        scores=load_scores(protocol, teacher.device),
        lessons=Lessons(teacher, protocol, seed, cache),
        machine=machine or MachineConfig(),
        references=make_references(protocol, reference),
        teacher_latents=outputs["latents"],
        teacher_pooled=outputs["pooled"],
        provenance=provenance,
    )


def _describe(
    resolved: ResolvedProtocol, dataset: Dataset, teacher: Teacher, extractor: Extractor
) -> dict[str, object]:
    """What labels say about where they come from."""
    found: dict[str, object] = {
        "teacher_sha256": teacher.sha256,
        "extractor_sha256": extractor.sha256,
        "protocol": resolved.settings,
        "versions": versions(PACKAGES),
        "environment": describe_environment(teacher.device),
        "sampling": describe_sampling(teacher.noise_schedule, resolved.protocol),
        "hole_fractions": hole_fractions(dataset.samples),
        "reference": name_references(resolved.protocol),
    }
    if teacher.revision is not None:
        found["teacher_revision"] = teacher.revision
    if dataset.manifest:
        found["photos"] = str(dataset.manifest)
        if dataset.manifest.unreadable:
            found["skipped_images"] = list(dataset.manifest.unreadable)
    return found


def _made_from(resolved: ResolvedProtocol, provenance: Mapping[str, object]) -> dict[str, object]:
    """What names everything that is computed for labels of one protocol."""
    networks = {name: provenance[name] for name in ("teacher_sha256", "extractor_sha256")}
    return {**networks, "protocol": resolved.key}
