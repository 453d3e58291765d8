"""The harness: an architecture and a protocol in, a label out; failures become labels too."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.cost import count_macs, count_params
from sdsearch.errors import InputError, WorkError
from sdsearch.labels import Label, Measurement
from sdsearch_eval.cache import TensorCache
from sdsearch_eval.dataset import load_recovery_samples, load_samples, manifest_sha256
from sdsearch_eval.features import Features, extract_features, load_extractor, lpips_like
from sdsearch_eval.latency import measure_latency
from sdsearch_eval.metrics import (
    frechet_distance,
    jackknife,
    kernel_distance,
    l1_in,
    mean_of,
    psnr_in,
    ssim_in,
)
from sdsearch_eval.recovery import Lessons, pool_size, recover_student
from sdsearch_eval.sampling import (
    UNetInputs,
    paste_back,
    prepare_inputs,
    sample_latents,
    tensor_to_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from diffusers import UNet2DConditionModel
    from numpy.typing import NDArray
    from torch import Tensor

    from sdsearch.architecture import Architecture
    from sdsearch.protocol import Protocol
    from sdsearch_eval.dataset import Sample
    from sdsearch_eval.features import EfficientNetLite0
    from sdsearch_eval.teacher import Teacher

PACKAGES = ("torch", "diffusers", "transformers", "numpy", "torchmetrics", "sdsearch")


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that labels of one protocol and seed share: samples, inputs, references."""

    protocol: Protocol
    seed: int
    teacher: Teacher
    samples: Sequence[Sample]
    inputs: UNetInputs
    extractor: EfficientNetLite0
    lessons: Lessons
    reference: Features
    teacher_latents: Tensor
    teacher_pooled: Tensor
    provenance: dict[str, object]


@dataclass(frozen=True, slots=True)
class Generated:
    """Outcome of sampling: latents (n, 4, h, w), raw and composited images (n, H, W, 3) uint8."""

    latents: Tensor
    raw: NDArray[np.uint8]
    composited: NDArray[np.uint8]


@dataclass(slots=True)
class Stopwatch:
    """Seconds per phase, by a monotonic clock."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


def prepare_bench(protocol: Protocol, seed: int, teacher: Teacher, features_dir: Path) -> Bench:
    """Compute, or read from the cache in `features_dir`, what all architectures share."""
    samples = load_samples(protocol)
    extractor, extractor_sha256 = load_extractor(protocol.extractor)
    provenance: dict[str, object] = {
        "teacher_sha256": teacher.sha256,
        "extractor_sha256": extractor_sha256,
        "manifest_sha256": manifest_sha256([*samples, *_recovery_photos(protocol)]),
        "versions": {package: version(package) for package in PACKAGES},
        "reference": "paired",
    }
    content = {
        "protocol": protocol.model_dump(mode="json"),
        **{
            name: provenance[name]
            for name in ("teacher_sha256", "extractor_sha256", "manifest_sha256")
        },
    }
    cache = TensorCache(features_dir, content)
    inputs = UNetInputs(
        **cache.get(f"inputs-s{seed}", lambda: _named(prepare_inputs(teacher, samples, seed)))
    )

    def make_reference() -> dict[str, Tensor]:
        images = _to_uint8_tensor(np.stack([sample.image for sample in samples]))
        features = extract_features(extractor, images, protocol.feature_size)
        maps = {f"map{i}": level.half() for i, level in enumerate(features.maps)}
        return {"pooled": features.pooled, **maps}

    def make_teacher_outputs() -> dict[str, Tensor]:
        unet = teacher.student(teacher.unpruned())
        generated = generate(unet, teacher, inputs, samples, protocol)
        images = _to_uint8_tensor(generated.composited)
        return {
            "latents": generated.latents,
            "pooled": extract_features(extractor, images, protocol.feature_size).pooled,
        }

    reference = cache.get("reference", make_reference)
    outputs = cache.get(f"teacher-s{seed}", make_teacher_outputs)
    return Bench(
        protocol=protocol,
        seed=seed,
        teacher=teacher,
        samples=samples,
        inputs=inputs,
        extractor=extractor,
        lessons=Lessons(teacher, protocol, seed, cache),
        reference=Features(reference["pooled"], [reference[f"map{i}"] for i in range(5)]),
        teacher_latents=outputs["latents"],
        teacher_pooled=outputs["pooled"],
        provenance=provenance,
    )


def evaluate(arch: Architecture, bench: Bench) -> tuple[Label, UNet2DConditionModel | None]:
    """Label `arch`: inherit, recover, sample, measure. Also returns the recovered student.

    Whatever goes wrong with this architecture becomes a failed label with its reason; wrong input
    (`InputError`) concerns all architectures and is raised.
    """
    watch = Stopwatch()
    try:
        unet = recovered_student(arch, bench, watch)
        with watch.phase("sampling"):
            generated = generate(unet, bench.teacher, bench.inputs, bench.samples, bench.protocol)
        with watch.phase("metrics"):
            values = measure(generated, bench)
        with watch.phase("latency"):
            latency = measure_latency(unet, bench.inputs)
    except InputError:
        raise
    except (WorkError, RuntimeError, MemoryError, FloatingPointError, ValueError) as error:
        return _failed(arch, bench, watch, error), None
    macs = count_macs(
        arch, bench.teacher.backbone, bench.inputs.noise.shape[-1], bench.inputs.text.shape[1]
    )
    label = Label(
        arch_key=arch.key,
        protocol_key=bench.protocol.key,
        seed=bench.seed,
        status="ok",
        architecture=arch,
        values={
            **values,
            "params": count_params(arch, bench.teacher.backbone),
            "macs": macs.total,
            "macs_conv_linear": macs.conv_linear,
            "latency_ms": latency,
        },
        provenance={**bench.provenance, "seconds": watch.seconds},
    )
    return label, unet


def recovered_student(arch: Architecture, bench: Bench, watch: Stopwatch) -> UNet2DConditionModel:
    """The student of `arch` after the protocol's recovery; an unpruned one needs none."""
    with watch.phase("inheritance"):
        unet = bench.teacher.student(arch)
    if arch != bench.teacher.unpruned():
        with watch.phase("recovery"):
            recover_student(unet, bench.lessons, bench.protocol.recovery)
    return unet


def generate(
    unet: UNet2DConditionModel,
    teacher: Teacher,
    inputs: UNetInputs,
    samples: Sequence[Sample],
    protocol: Protocol,
) -> Generated:
    """Sample all tasks block by block and decode them; composited images keep the known pixels."""
    latents, raw = [], []
    for block in inputs.blocks(protocol.block_size):
        latents.append(
            sample_latents(unet, block, teacher, steps=protocol.steps, guidance=protocol.guidance)
        )
        raw.append(tensor_to_images(teacher.decode_latents(latents[-1])))
    images = np.concatenate(raw)
    return Generated(torch.cat(latents), images, paste_back(images, samples))


def measure(generated: Generated, bench: Bench) -> dict[str, Measurement]:
    """All quality values of what was generated; of composited images unless a name says otherwise.

    Raises:
        WorkError: all images are the same.
    """
    if (generated.composited == generated.composited[:1]).all():
        raise WorkError("generated images must differ from each other, but all are the same")
    latent_error = (generated.latents - bench.teacher_latents).square().mean(1, keepdim=True)
    cells = bench.inputs.masks
    latent_mse = ((latent_error * cells).sum((1, 2, 3)) / cells.sum((1, 2, 3))).double().numpy()
    return {
        **measure_images(generated.composited, bench),
        "latent_mse_vs_teacher": mean_of(latent_mse),
    }


def measure_images(images: NDArray[np.uint8], bench: Bench) -> dict[str, Measurement]:
    """Quality values of (n, H, W, 3) images that fill the holes of the bench's samples."""
    name, size = bench.protocol.extractor, bench.protocol.feature_size
    features = extract_features(bench.extractor, _to_uint8_tensor(images), size)
    originals = np.stack([sample.image for sample in bench.samples])
    holes = np.stack([sample.mask for sample in bench.samples]) == 255
    pooled, reference, teacher = (
        t.double().numpy() for t in (features.pooled, bench.reference.pooled, bench.teacher_pooled)
    )
    lpips = lpips_like(features.maps, bench.reference.maps).double().numpy()
    return {
        f"fd_{name}": jackknife(frechet_distance, pooled, reference),
        f"kid_{name}": jackknife(kernel_distance, pooled, reference),
        f"lpips_like_{name}": mean_of(lpips),
        "psnr_hole": mean_of(psnr_in(holes, images, originals)),
        "ssim_hole": mean_of(ssim_in(holes, images, originals)),
        "l1_hole": mean_of(l1_in(holes, images, originals)),
        "fd_vs_teacher": jackknife(frechet_distance, pooled, teacher),
    }


def _recovery_photos(protocol: Protocol) -> list[Sample]:
    """Photos that recovery learns from change labels too; scenes are known by the renderer."""
    if protocol.dataset == "scenes" or not protocol.recovery.steps:
        return []
    return load_recovery_samples(protocol, pool_size(protocol))


def _failed(arch: Architecture, bench: Bench, watch: Stopwatch, error: Exception) -> Label:
    return Label(
        arch_key=arch.key,
        protocol_key=bench.protocol.key,
        seed=bench.seed,
        status="failed",
        reason=f"{type(error).__name__}: {error}",
        architecture=arch,
        values={"params": count_params(arch, bench.teacher.backbone)},
        provenance={**bench.provenance, "seconds": watch.seconds},
    )


def _named(inputs: UNetInputs) -> dict[str, Tensor]:
    return {
        "noise": inputs.noise,
        "masks": inputs.masks,
        "masked_latents": inputs.masked_latents,
        "text": inputs.text,
        "empty_text": inputs.empty_text,
    }


def _to_uint8_tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)
