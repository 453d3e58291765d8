from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.design.proposals import propose_labels
from sdsearch.design.scores import SpaceScores
from sdsearch.errors import InputError
from sdsearch.space.space import search_space
from sdsearch.stages import sample
from sdsearch.stages.sample import propose_architectures, sample_study
from sdsearch.study.listing import read_sample
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path

SPACE = search_space("tiny")
BLOCKS = search_space("sd14-blocks", SPACE.backbone)
LABELLED = BLOCKS.sample(68, np.random.default_rng(0))


def scored(spread: np.ndarray) -> SpaceScores:
    return SpaceScores(np.zeros(len(BLOCKS), np.float32), spread.astype(np.float32), ())


def test_proposals_are_new_distinct_and_the_same_with_the_same_seed() -> None:
    spread = np.random.default_rng(1).random(len(BLOCKS))
    first, again = (
        propose_labels(BLOCKS, scored(spread), LABELLED, 30, np.random.default_rng(2))
        for _ in range(2)
    )
    keys = {arch.key for arch in first}
    assert len(keys) == 30
    assert not keys & {arch.key for arch in LABELLED}
    assert first == again


def test_where_the_ensemble_disagrees_much_is_proposed_first() -> None:
    spread = np.zeros(len(BLOCKS))
    torn = BLOCKS.sample(3, np.random.default_rng(3))
    spread[[BLOCKS.index(arch) for arch in torn]] = 1.0
    found = propose_labels(BLOCKS, scored(spread), LABELLED, 3, np.random.default_rng(0))
    assert {arch.key for arch in found} == {arch.key for arch in torn}


def test_without_disagreement_rare_options_are_covered_sooner_than_by_chance() -> None:
    def unseen(archs: list) -> int:
        digits = BLOCKS.digits(np.array([BLOCKS.index(arch) for arch in archs]))
        return sum(
            radix - len(np.unique(digits[:, unit])) for unit, radix in enumerate(BLOCKS.radices)
        )

    few = LABELLED[:4]
    spread = np.zeros(len(BLOCKS))
    found = propose_labels(BLOCKS, scored(spread), few, 8, np.random.default_rng(0))
    by_chance = np.mean(
        [unseen([*few, *BLOCKS.sample(8, np.random.default_rng(seed))]) for seed in range(20)]
    )
    assert unseen([*few, *found]) < by_chance


def test_more_than_the_space_holds_is_refused() -> None:
    with pytest.raises(InputError, match="only 5,564"):
        propose_labels(
            BLOCKS, scored(np.zeros(len(BLOCKS))), LABELLED, 6000, np.random.default_rng(0)
        )


def test_proposed_architectures_stay_in_the_list_when_it_is_sampled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path / "study", "[space]\nlabels = 5\n")
    before = sample_study(study)
    spread = np.random.default_rng(4).random(len(SPACE)).astype(np.float32)
    predicted = SpaceScores(np.zeros(len(SPACE), np.float32), spread, ())
    predicted.save(study.predictions_file("space"))
    monkeypatch.setattr(sample, "score_study", lambda study: None)
    found = [arch.key for arch in propose_architectures(study, 3)]
    found += [arch.key for arch in propose_architectures(study, 2)]
    assert len(set(found)) == 5
    listing = sample_study(study)
    assert listing.entries[: len(before)] == before.entries
    assert listing.keys_from("proposal") == found
    assert read_sample(study) == listing
