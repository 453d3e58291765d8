"""The sample: which architectures a study measures first, the same whenever it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sdsearch.study.folder import load_space
from sdsearch.study.listing import Listing, Origin

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder


def draw_sample(study: StudyFolder) -> Listing:
    """The named members and a draw by the study's strategy; nothing is written.

    Raises:
        InputError: the space has too few members for it.
    """
    space, wanted = load_space(study), study.config.space
    rng = np.random.default_rng(wanted.seed)
    draw = space.sample if wanted.strategy == "uniform" else space.sample_stratified
    picked = [(arch, Origin(kind="member", name=name)) for name, arch in space.members.items()]
    origin = Origin(kind="sample", name=wanted.strategy)
    return Listing.of([*picked, *((arch, origin) for arch in draw(wanted.labels, rng))])
