"""Intake: what the files of a study hold, read before any hour is spent on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch

from sdsearch.console import make_console
from sdsearch.files import write_atomic
from sdsearch.pipelines import open_pipeline
from sdsearch.study import read_study, write_protocols
from sdsearch_eval.bench import describe_sampling, resolve_protocol
from sdsearch_eval.data import list_photos, read_dataset_captions, visit_dataset
from sdsearch_eval.models import describe_cut, load_teacher
from sdsearch_eval.nets import load_extractor
from sdsearch_eval.pictures import are_painted_whole, draw_comparison
from sdsearch_eval.recovery import pool_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from sdsearch.labels import Protocol
    from sdsearch.study import InspectRequest, ResolveRequest, StudyFolder
    from sdsearch_eval.data import Manifest, Sample

SHOWN = 16
"""Samples on a contact sheet."""


@dataclass(frozen=True, slots=True)
class _Glance:
    """What is kept of a sample: its caption, and the share of it that is repainted."""

    caption: str
    hole: float


def resolve_study(request: ResolveRequest) -> None:
    """Read the files of a study's own protocol and of its rungs."""
    keep_content(read_study(request.study))


def keep_content(study: StudyFolder) -> StudyFolder:
    """The study that knows what its files hold now; it is kept beside study.toml."""
    found = [resolve_protocol(study.at_rung(rung).config.protocol) for rung in study.rungs]
    write_protocols(study, found)
    return study.knowing(*found)


def inspect_inputs(request: InspectRequest) -> None:
    """Read everything that labels would read; print what it is, and draw the first samples."""
    protocol = request.protocol if request.teacher else _of_all_photos(request.protocol)
    pool = pool_size(protocol) if protocol.recovery.steps else 0
    shown: list[Sample] = []
    say = make_console(to_stdout=True).print

    def glance(sample: Sample) -> _Glance:
        if len(shown) < SHOWN:
            shown.append(sample)
        return _Glance(sample.caption, sample.share)

    seen, learned, manifest = visit_dataset(protocol, pool, glance)
    for line in _describe_data(protocol, seen, len(learned), manifest):
        say(line, soft_wrap=True)
    if request.teacher is not None:
        for line in _describe_networks(protocol, request.teacher, [one.caption for one in seen]):
            say(line, soft_wrap=True)
        say(f"protocol: {resolve_protocol(protocol).key}")
    sheet = BytesIO()
    draw_contact_sheet(shown[: protocol.samples]).save(sheet, "PNG")
    request.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(request.out, sheet.getvalue())
    say(f"contact sheet: {request.out}", soft_wrap=True)


def _of_all_photos(protocol: Protocol) -> Protocol:
    """The protocol that evaluates on every photo, and recovers on none."""
    manifest = list_photos(protocol)
    count = len(manifest.cases) if manifest else protocol.samples
    recovery = protocol.recovery.model_copy(update={"steps": 0})
    return protocol.model_copy(update={"samples": max(1, count), "recovery": recovery})


def draw_contact_sheet(samples: Sequence[Sample]) -> Image.Image:
    """A row for each sample, as labels see it: photo, photo with its hole, mask; caption below.

    Of photos that are cropped around their holes, their own pixels there.
    Of what is painted from words there are the captions, and their photos where they have some.
    """
    masks = [np.repeat(sample.hole[..., None] * np.uint8(255), 3, axis=2) for sample in samples]
    notes = {"mask": "white is painted"}
    named = [
        replace(sample, caption=f"{sample.name}: {sample.caption or '(no caption)'}")
        for sample in samples
    ]
    if are_painted_whole(samples):
        blank = [np.full_like(mask, 235) for mask in masks]
        return draw_comparison(named, {"to paint": blank}, {"to paint": "all"})
    return draw_comparison(named, {"mask": masks}, notes, unmeasured=("mask",))


def _describe_data(
    protocol: Protocol, seen: Sequence[_Glance], learned: int, manifest: Manifest | None
) -> Iterator[str]:
    yield f"photos: {manifest or 'scenes, rendered'}"
    if captions := read_dataset_captions(protocol):
        yield f"captions: {captions.summary}"
    holes = [one.hole for one in seen]
    if protocol.paints_words:
        source = "captions" if protocol.prompts == "captions" else f"prompts of {protocol.prompts}"
        yield (
            f"samples: {len(seen)} pictures from {protocol.pictures} {source} at "
            f"{protocol.resolution} px, {learned} photos to recover on; compared with "
            f"{protocol.references}"
        )
        return
    around = "" if protocol.crop == "whole" else ", each the surroundings of its hole"
    yield (
        f"samples: {len(holes)} evaluated at {protocol.resolution} px{around}, {learned} photos "
        f"to recover on; holes of {min(holes):.1%} to {max(holes):.1%}"
    )


def _describe_networks(protocol: Protocol, name: str, captions: Sequence[str]) -> Iterator[str]:
    teacher = load_teacher(open_pipeline(name), torch.device("cpu"))
    yield (
        f"teacher: {name}, {teacher.backbone.in_channels} input channels, "
        f"{teacher.backbone.sample_size * teacher.latent_factor} px, {teacher.sha256[:12]}"
    )
    sampling = describe_sampling(teacher.noise_schedule, protocol)
    schedule = teacher.noise_schedule
    yield (
        f"scheduler: {sampling['scheduler']}, {protocol.steps} steps, on the teacher's own noise "
        f"schedule ({schedule.beta_schedule}, {schedule.prediction_type})"
    )
    extractor = load_extractor(protocol.extractor)
    yield f"extractor: {protocol.extractor.partition(':')[0]}, {extractor.sha256[:12]}"
    if cut := describe_cut(teacher, captions):
        yield f"captions: {cut}"
