"""Times: how long each stage takes, from speeds that were measured and work that is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.unet import INPAINT_CHANNELS, UNPRUNED, count_macs, count_params
from sdsearch_eval.recovery import pool_size
from sdsearch_eval.sampling import LATENCY_CALLS, LONG, SLOT_CALLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.labels import LongRecovery
    from sdsearch.study import ProbeRequest
    from sdsearch.unet import Architecture
    from sdsearch_eval.planning.phases import Work
    from sdsearch_eval.planning.speeds import Line, Speeds

PICTURED, THUMBNAILS, GRID_ROWS = 4, 4, 8
"""Samples that a long recovery paints now and then, an export's thumbnails, a grid."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds of a study's stages on the machine whose `speeds` were measured.

    `start` is how long a process of the harness takes before it does anything.
    """

    work: Work
    speeds: Speeds
    start: float

    def prepare(self) -> float:
        """What all labels share: encoded photos, references, the teacher's pictures and answers."""
        protocol, speeds = self.work.protocol, self.speeds
        samples, recipe = protocol.samples, protocol.recovery
        pool = pool_size(protocol) if recipe.steps else 0
        shared = (samples + 2 * pool) * speeds.encode + (samples + pool) * speeds.caption
        answers = recipe.steps * speeds.answer
        pictures = self._paint(UNPRUNED, samples) + 2 * samples * speeds.features
        return self.start + self._make() + shared + pictures + answers + self._floors()

    def probe(self, archs: Sequence[Architecture], request: ProbeRequest) -> float:
        """Samples encoded once, then each removal made and asked about all at every timestep."""
        sees_masks = self.work.parts.backbone.in_channels == INPAINT_CHANNELS
        encoded = request.samples * (self.speeds.caption + (1 + sees_masks) * self.speeds.encode)
        slots = SLOT_CALLS * self._at(self.speeds.probe_single, UNPRUNED)
        at_once = request.at_once(self.work.protocol)
        calls = request.samples * request.timesteps / at_once
        asked = sum(
            self._make(arch) + calls * self._ask(arch, at_once) for arch in (UNPRUNED, *archs)
        )
        return self.start + self._make() + encoded + slots + asked

    def label(self, arch: Architecture) -> float:
        """One label, in a process that is there."""
        latency = LATENCY_CALLS * self._at(self.speeds.single, arch)
        return self._make(arch) + self._learn(arch) + self._measure(arch) + latency

    def remake(self, arch: Architecture) -> float:
        """Weights made again by a process of its own, which paints a block to compare."""
        protocol = self.work.protocol
        block = min(protocol.block_size, protocol.samples)
        opening = self.start + self._make() + self._make(arch)
        return opening + self._learn(arch) + self._paint(arch, block)

    def recover(self, arch: Architecture) -> float:
        """The long recovery of a design, measured before and after."""
        recipe = self.work.long
        step = self._at(self.speeds.long_step, arch) + self._teach(recipe)
        paintings = recipe.steps // recipe.picture_every * self._paint(arch, PICTURED)
        opening = self.start + 2 * self._make() + self._make(arch)
        return opening + recipe.steps * step + paintings + 2 * self._measure(arch)

    def tune(self, recipe: LongRecovery) -> float:
        """The teacher that learns to inpaint, with pictures now and then, and its folder."""
        step = self.speeds.tune_step + recipe.batch_size * self._encode(recipe)
        paintings = recipe.steps // recipe.picture_every * self._paint(UNPRUNED, PICTURED)
        return self.start + 3 * self._make() + recipe.steps * step + paintings

    def compare(self, archs: tuple[Architecture, ...]) -> float:
        """The grid of all designs, from weights that are there."""
        made = sum(
            self._make(arch) + self._paint(arch, GRID_ROWS) + self._cost(arch) for arch in archs
        )
        return self.start + self._make() + made

    def export(self, archs: tuple[Architecture, ...]) -> float:
        """The folders of pipelines; their thumbnails and costs by one more process."""
        made = sum(
            3 * self._make(arch) + self._paint(arch, THUMBNAILS) + self._cost(arch)
            for arch in archs
        )
        opening = 2 * self.start + (2 * len(archs) + 1) * self._make()
        return opening + made + self._cost(UNPRUNED)

    def _at(self, line: Line, arch: Architecture) -> float:
        latent = self.work.latent
        return line.at(count_macs(arch, self.work.parts.backbone, (latent, latent)).total)

    def _make(self, arch: Architecture = UNPRUNED) -> float:
        """A UNet with its weights; making is what takes longest when a teacher is opened."""
        return self.speeds.making * count_params(arch, self.work.parts.backbone)

    def _learn(self, arch: Architecture) -> float:
        """The short recovery, which the teacher needs not."""
        steps = 0 if arch == UNPRUNED else self.work.protocol.recovery.steps
        return steps * self._at(self.speeds.step, arch)

    def _paint(self, arch: Architecture, samples: int) -> float:
        """Sampling and decoding so many samples."""
        protocol = self.work.protocol
        block = min(protocol.block_size, protocol.samples)
        call = self._at(self.speeds.block, arch) * (samples / block)
        return protocol.steps * call + samples * self.speeds.decode

    def _ask(self, arch: Architecture, inputs: int) -> float:
        """One call of a probe about so many inputs, without guidance."""
        protocol = self.work.protocol
        block = min(protocol.block_size, protocol.samples) * self.work.calls
        lines = self.speeds.probe_single, self.speeds.probe_block
        single, whole = (self._at(line, arch) for line in lines)
        return max(single, whole * inputs / block)

    def _cost(self, arch: Architecture) -> float:
        """What a picture costs: UNet calls, and as many whole pictures where they are short."""
        call, speeds = self._at(self.speeds.single, arch), self.speeds
        each = self.work.protocol.steps * self.work.calls * call
        each += speeds.caption + speeds.encode + speeds.decode
        return LATENCY_CALLS * call + each * (LATENCY_CALLS if each < LONG else 1)

    def _measure(self, arch: Architecture) -> float:
        samples = self.work.protocol.samples
        metrics = samples * self.speeds.metrics + self.speeds.summary
        return self._paint(arch, samples) + metrics

    def _floors(self) -> float:
        """The autoencoder alone, and the teacher under other noise, both measured."""
        samples, speeds = self.work.protocol.samples, self.speeds
        alone = samples * (speeds.encode + speeds.decode + speeds.metrics) + speeds.summary
        return alone + self._measure(UNPRUNED)

    def _teach(self, recipe: LongRecovery) -> float:
        """Encoding a step's pictures, and the teacher's answer."""
        share = recipe.batch_size / self.work.protocol.recovery.batch_size
        return recipe.batch_size * self._encode(recipe) + share * self.speeds.answer

    def _encode(self, recipe: LongRecovery) -> float:
        """Encoding a picture and its caption: the picture twice where it is seen masked too."""
        sees_masks = self.work.parts.backbone.in_channels == INPAINT_CHANNELS
        pictures = 0 if recipe.cache_latents else 1 + sees_masks
        return self.speeds.caption + pictures * self.speeds.encode
