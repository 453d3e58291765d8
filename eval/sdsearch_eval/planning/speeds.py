"""Speeds: how fast this machine does a study's kinds of work, by a few real passes of each.

Networks are of the study's geometry with random weights: a speed does not depend on them, and no
file of the teacher has to be there yet. Costs of UNets are a line in multiply-accumulates through
two members, since small ones cost more than their share.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.labels import FEWEST_TO_EXTRAPOLATE, RecoveryLosses
from sdsearch.unet import TEXT_TOKENS, UNPRUNED, count_macs
from sdsearch.weights import make_unet
from sdsearch_eval.counting import unet_inputs
from sdsearch_eval.devices import (
    memory_format,
    place_net,
    quick_dtype,
    release_memory,
    synchronize,
)
from sdsearch_eval.metrics import compare_pixels, frechet_at_infinity, frechet_distance, jackknife
from sdsearch_eval.models import PIXELS_AT_ONCE
from sdsearch_eval.nets import extract_features, lpips_like
from sdsearch_eval.recovery import Lesson, learn_lesson, make_optimizer
from sdsearch_eval.sampling import cast_unet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from diffusers import UNet2DConditionModel

    from sdsearch.labels import LongRecovery, Protocol, RecoveryRecipe
    from sdsearch.unet import Architecture
    from sdsearch_eval.nets import Extractor
    from sdsearch_eval.planning.phases import Work
    from sdsearch_eval.recovery import Cut

WATCHED, FEWEST = 1.0, 5
"""Seconds for which a kind of work is repeated, and how often at least if that is not too long."""
_MACS_AT_ONCE = {"cpu": 2 * 10**11}
"""On a processor, passes of more images are counted from those of fewer."""
_TRAINED = 3
"""A training step in calls, where even one image is too much to try: backward costs two."""


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds of a pass by its multiply-accumulates an image."""

    fixed: float
    each: float

    def at(self, macs: float) -> float:
        """The seconds of a member with so many."""
        return self.fixed + self.each * macs


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of each kind of work on this machine.

    Attributes:
        block: a UNet call on a block of samples, with guidance where there is some.
        single: a UNet call on one image; `probe_block` and `probe_single` as a probe makes them.
        answer: the teacher's answer to a batch of the short recovery.
        step: a whole step of the short recovery; `long_step` of the long one.
        tune_step: one of the whole net that learns to inpaint; 0 where it does not.
        making: a student with its weights, by parameters.
        encode, decode: an image, in the autoencoder.
        caption: one in the text encoder.
        metrics: all that is measured of a painted image; `features` their part of the extractor.
        summary: distances of a label's distributions.
    """

    block: Line
    single: Line
    probe_block: Line
    probe_single: Line
    answer: float
    step: Line
    long_step: Line
    tune_step: float
    making: float
    encode: float
    decode: float
    caption: float
    features: float
    metrics: float
    summary: float


def time_work(run: Callable[[], object], device: torch.device) -> float:
    """The lower quartile of the seconds of some runs, after a first one that does not count.

    What disturbs a run makes it longer, sometimes twice as long, and never shorter.
    """
    run()
    found: list[float] = []
    synchronize(device)
    while (
        not found or sum(found) < WATCHED or (len(found) < FEWEST and sum(found) < FEWEST * WATCHED)
    ):
        start = time.perf_counter()
        run()
        synchronize(device)
        found.append(time.perf_counter() - start)
    return float(np.quantile(found, 0.25))


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried, as it was found to fit.

    Attributes:
        small: a member that costs little.
        large: the largest that will be trained.
        block: samples painted at once.
        short: how a step of the short recovery is cut; None without one.
        long: how a step of the long recovery is cut; None where none fits.
        tuning: how the teacher learns to inpaint and how a step of it is cut; None where it
            does not.
    """

    small: Architecture
    large: Architecture
    block: int
    short: Cut | None
    long: Cut | None
    tuning: tuple[LongRecovery, Cut] | None = None


def measure_speeds(work: Work, extractor: Extractor, trial: Trial, device: torch.device) -> Speeds:
    """Try every kind of work of a study on `device`.

    Raises:
        torch.OutOfMemoryError: other programs have the memory.
    """
    protocol, bench = work.protocol, _Passes(work, device)
    recipe = protocol.recovery
    block = min(trial.block, protocol.samples) * work.calls
    extractor.net.to(device)
    called, trained = (trial.small, UNPRUNED), (trial.small, trial.large)
    macs, learned = ([bench.macs(arch) for arch in some] for some in (called, trained))
    dtypes = dict.fromkeys((protocol.dtype, quick_dtype(device, protocol.dtype)))
    blocks, singles = (
        [draw_line(macs, [bench.call(arch, size, dtype) for arch in called]) for dtype in dtypes]
        for size in (block, 1)
    )
    answer = bench.answer(recipe, trial.short or trial.long)
    # The short recovery asks the teacher for its features by itself; the long one with its answer.
    asked = answer if recipe.losses.feature else 0.0
    steps = [
        [bench.step(arch, which, cut) for arch in trained] if cut else [0.0, 0.0]
        for which, cut in ((recipe, trial.short), (work.long, trial.long))
    ]
    start = time.perf_counter()
    unet = make_unet(UNPRUNED, work.parts.backbone)
    making = (time.perf_counter() - start) / sum(weight.numel() for weight in unet.parameters())
    del unet
    encode, decode = bench.autoencoder(min(trial.block, protocol.samples))
    return Speeds(
        block=blocks[0],
        single=singles[0],
        probe_block=blocks[-1],
        probe_single=singles[-1],
        answer=answer,
        step=draw_line(learned, [seconds + asked for seconds in steps[0]]),
        long_step=draw_line(learned, steps[1]),
        tune_step=bench.step(UNPRUNED, *trial.tuning) if trial.tuning else 0.0,
        making=making,
        encode=encode,
        decode=decode,
        caption=bench.caption(),
        **_time_metrics(protocol, extractor, device),
    )


def draw_line(macs: Sequence[int], seconds: Sequence[float]) -> Line:
    """The line through two points; one that would fall is level, one from below 0 begins there.

    >>> draw_line([10, 20], [3.0, 4.0])
    Line(fixed=2.0, each=0.1)
    >>> draw_line([10, 20], [1.0, 4.0])
    Line(fixed=0.0, each=0.2)
    """
    (few, many), (fast, slow) = macs, seconds
    each = (slow - fast) / max(1, many - few)
    if each <= 0:
        return Line((fast + slow) / 2, 0.0)
    fixed = fast - each * few
    return Line(fixed, each) if fixed >= 0 else Line(0.0, slow / many)


@dataclass(frozen=True, slots=True)
class _Passes:
    """Passes of a study's networks on a device."""

    work: Work
    device: torch.device

    def macs(self, arch: Architecture) -> int:
        latent = self.work.latent
        return int(count_macs(arch, self.work.parts.backbone, (latent, latent)).total)

    def call(self, arch: Architecture, images: int, dtype: str) -> float:
        """Seconds of a call without gradients."""
        unet = cast_unet(self._unet(arch), dtype)
        tried = self._tried(images, self.macs(arch))
        given = self._inputs(tried, unet.dtype)
        with torch.no_grad():
            found = time_work(lambda: unet(*given, return_dict=False), self.device)
        return found * images / tried

    def step(self, arch: Architecture, recipe: RecoveryRecipe, cut: Cut) -> float:
        """Seconds of a whole training step of the recipe's batch."""
        batch, macs = recipe.batch_size, self.macs(arch)
        tried = self._tried(batch, _TRAINED * macs)
        if self.device.type == "cpu" and _TRAINED * macs > _MACS_AT_ONCE["cpu"]:
            calls = _TRAINED + cut.checkpointing
            return calls * self.call(arch, batch, "float32")
        unet = self._unet(arch).train().requires_grad_(True)
        optimizer = make_optimizer(unet, recipe)
        given = self._inputs(tried, torch.float32)
        latents, times, text = given
        output = torch.randn_like(latents[:, :4])
        lesson = Lesson(latents, times, text, output, output)
        fitted = replace(cut, micro_batch=min(cut.micro_batch, tried))
        alone = recipe.model_copy(update={"losses": RecoveryLosses()})

        def learn() -> None:
            learn_lesson(unet, lesson, alone, None, fitted)
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        found = time_work(learn, self.device)
        return found * batch / tried

    def answer(self, recipe: RecoveryRecipe, cut: Cut | None) -> float:
        """Seconds of the teacher's answer to a batch, asked in the parts of a step."""
        part = min(cut.micro_batch if cut else 1, recipe.batch_size)
        return self.call(UNPRUNED, part, recipe.teacher_dtype) * recipe.batch_size / part

    def autoencoder(self, images: int) -> tuple[float, float]:
        """Seconds of encoding an image, and of decoding one."""
        parts, side = self.work.parts, self.work.protocol.resolution
        most = 1 if self.device.type == "cpu" and side > 256 else max(1, PIXELS_AT_ONCE // side**2)
        images = min(most, images)
        with torch.device(self.device):
            vae = place_net(type(parts.vae).from_config(parts.vae.config), self.device).eval()
        layout = memory_format(self.device)
        pixels = torch.rand(images, vae.config.in_channels, side, side, device=self.device)
        latents = torch.randn(
            images,
            vae.config.latent_channels,
            *[side // parts.latent_factor] * 2,
            device=self.device,
        )
        with torch.no_grad():
            encode = time_work(lambda: vae.encode(pixels.to(memory_format=layout)), self.device)
            decode = time_work(lambda: vae.decode(latents.to(memory_format=layout)), self.device)
        return encode / images, decode / images

    def caption(self) -> float:
        """Seconds of encoding a caption, 8 at once."""
        config = self.work.parts.text_encoder.config
        with torch.device(self.device):
            net = type(self.work.parts.text_encoder)(config).eval()
        length = min(TEXT_TOKENS, config.max_position_embeddings)
        words = torch.zeros(8, length, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            return time_work(lambda: net(words), self.device) / 8

    def _unet(self, arch: Architecture) -> UNet2DConditionModel:
        """A member on the device, its weights small and random."""
        release_memory(self.device)  # of the net that was tried before
        unet = make_unet(arch, self.work.parts.backbone, torch.device("meta"))
        unet = unet.to_empty(device=self.device)
        with torch.no_grad():
            for weight in unet.parameters():
                weight.uniform_(-0.03, 0.03)
        return place_net(unet, self.device)

    def _inputs(self, images: int, dtype: torch.dtype) -> list[torch.Tensor]:
        shapes = unet_inputs(self.work.parts.backbone, images, self.work.latent, dtype)
        return [
            torch.rand(x.shape, device=self.device).to(x.dtype)
            if x.is_floating_point()
            else torch.full(x.shape, 500, device=self.device)
            for x in shapes
        ]

    def _tried(self, images: int, macs: int) -> int:
        """How many of some images are tried at once."""
        most = _MACS_AT_ONCE.get(self.device.type)
        return images if most is None else max(1, min(images, most // macs))


def _time_metrics(
    protocol: Protocol, extractor: Extractor, device: torch.device
) -> dict[str, float]:
    """Seconds of `features`, of all `metrics` of an image, and of a label's `summary`."""
    rng, side = np.random.default_rng(0), protocol.resolution
    images = min(protocol.block_size, protocol.samples, 8)
    first, second = rng.integers(0, 256, (2, images, side, side, 3), np.uint8)
    holes = rng.random((images, side, side)) < 0.2
    tensor = torch.from_numpy(first).permute(0, 3, 1, 2)
    features = extract_features(extractor, tensor, protocol.feature_size)

    def measure() -> None:
        made = extract_features(extractor, tensor, protocol.feature_size)
        lpips_like(made.maps, features.maps)
        compare_pixels(first, second, {"hole": holes, "full": np.ones_like(holes)}, device)
        compare_pixels(first, second, {"keep_raw": ~holes}, device)

    size = protocol.samples, features.pooled.shape[1]
    ours, theirs = rng.standard_normal(size), rng.standard_normal(size)

    def summarize() -> None:
        jackknife(frechet_distance, ours, theirs)
        jackknife(frechet_distance, ours, theirs)
        if protocol.samples >= FEWEST_TO_EXTRAPOLATE:
            frechet_at_infinity(ours, theirs, rng)

    alone = time_work(lambda: extract_features(extractor, tensor, protocol.feature_size), device)
    return {
        "features": alone / images,
        "metrics": time_work(measure, device) / images,
        "summary": time_work(summarize, device),
    }
