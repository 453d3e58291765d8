"""Sampling: which architectures to measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from sdsearch.console import say
from sdsearch.design import SpaceScores, propose_labels
from sdsearch.stages.probe import probe_study
from sdsearch.stages.score import score_study
from sdsearch.study import (
    Listing,
    Origin,
    draw_sample,
    load_space,
    mend_listing,
    pick_by_probe,
    read_sample,
    warn_of_resolution,
    write_sample,
)

if TYPE_CHECKING:
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

Choice = Literal["active", "probe"]
"""How a further round of labels is chosen."""


def sample_study(study: StudyFolder) -> Listing:
    """Pick the named members and the study's sample, the same every time: architectures.jsonl.

    What was proposed for a further round (`propose_architectures`) stays in the listing, and what
    is damaged in it is drawn again. Where the strategy needs a probe, there is one afterwards.
    """
    mend_listing(study)
    if warning := warn_of_resolution(study.config):
        say(warning)
    if study.config.space.strategy == "probe":
        probe_study(study)
    picked = list(draw_sample(study).pairs())
    before = read_sample(study) if study.architectures_file.is_file() else Listing(())
    picked += [pair for pair in before.pairs() if pair[1].kind == "proposal"]
    listing = Listing.of(picked)
    write_sample(study, listing)
    return listing


def propose_architectures(
    study: StudyFolder, count: int, choice: Choice = "active"
) -> list[Architecture]:
    """Add the next `count` architectures to measure to the study's sample.

    Args:
        study: whose sample grows.
        count: by how many.
        choice: "active" takes what the predictor knows least of; "probe" needs no label: members
            within the budget, the more the nearer to its front a probe puts them.
    """
    sample = read_sample(study)
    known = list(sample.architectures.values())
    rng = np.random.default_rng([study.config.space.seed, len(sample)])
    if choice == "probe":
        probe_study(study)
        found = pick_by_probe(study, count, rng, known)
    else:
        score_study(study)
        scored = SpaceScores.load(study.predictions_file("space"))
        found = propose_labels(load_space(study), scored, known, count, rng)
    origin = Origin(kind="proposal", name=choice)
    write_sample(study, Listing.of([*sample.pairs(), *((arch, origin) for arch in found)]))
    return found
