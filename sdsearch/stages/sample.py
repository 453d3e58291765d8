"""Sampling: which architectures to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.console import say
from sdsearch.design import SpaceScores, propose_labels
from sdsearch.stages.score import score_study
from sdsearch.study import (
    Listing,
    Origin,
    draw_sample,
    load_space,
    mend_listing,
    read_sample,
    warn_of_resolution,
    write_sample,
)

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture


def sample_study(study: StudyFolder) -> Listing:
    """Pick the named members and the study's sample, the same every time: architectures.jsonl.

    What was proposed for a further round (`propose_architectures`) stays in the listing, and what
    is damaged in it is drawn again.
    """
    mend_listing(study)
    if warning := warn_of_resolution(study.config):
        say(warning)
    picked = list(draw_sample(study).pairs())
    before = read_sample(study) if study.architectures_file.is_file() else Listing(())
    picked += [pair for pair in before.pairs() if pair[1].kind == "proposal"]
    listing = Listing.of(picked)
    write_sample(study, listing)
    return listing


def propose_architectures(study: StudyFolder, count: int) -> list[Architecture]:
    """Add the next `count` architectures to measure to the study's sample, by active choice."""
    score_study(study)
    sample, space = read_sample(study), load_space(study)
    found = propose_labels(
        space,
        SpaceScores.load(study.predictions_file("space")),
        list(sample.architectures.values()),
        count,
        np.random.default_rng([study.config.space.seed, len(sample)]),
    )
    origin = Origin(kind="proposal", name="active")
    write_sample(study, Listing.of([*sample.pairs(), *((arch, origin) for arch in found)]))
    return found
