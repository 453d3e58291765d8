from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.labels import Measurement
from sdsearch.report.claims import claim_notes, make_claims, read_claims
from sdsearch.stats import leave_out_blocks
from tests.fakes import (
    make_design,
    make_label,
    make_study,
    measured,
    tiny_member,
    write_designs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels import Label
    from sdsearch.report.claims import Claim

COLUMN, ROWS = "fd_efflite0", 64
SMALL, TINY, BASE = (tiny_member(f"bk-{name}") for name in ("small", "tiny", "base"))
DESIGNS = [
    make_design(SMALL, "autobuild", 1),
    make_design(TINY, "autobuild", 2),
    make_design(TINY, "exhaustive", 1),
    make_design(BASE, "random", 1),
]
SHIFTS = {"teacher": 80.0, "bk-small": 80.1, "bk-tiny": 84.0, "bk-base": 90.0}


def labels_of(seeds: int = 1, noise: float = 0.2, blocks: bool = True) -> list[Label]:
    """Means over scenes that move all members by 20, and each one alone by little."""
    rng = np.random.default_rng(0)
    scenes, labels = rng.normal(0, 20, ROWS), []
    for seed in range(seeds):
        shared = rng.normal(0, 2)
        for name, shift in SHIFTS.items():
            values = shift + scenes + shared + rng.normal(0, noise, ROWS)
            found = Measurement(
                value=float(values.mean()),
                se=float(values.std(ddof=1) / 8),
                n=ROWS,
                blocks=tuple(leave_out_blocks(np.mean, values).tolist()) if blocks else None,
            )
            label = make_label(tiny_member(name), seed=seed)
            labels.append(label.model_copy(update={"values": {COLUMN: found}}))
    return labels


def claims_by_pair(labels: list[Label], seed: int = 0) -> dict[tuple[str, str], Claim]:
    found = make_claims(labels, DESIGNS, COLUMN, seed, 0.01)
    return {(claim.first, claim.second): claim for claim in found}


def test_designs_are_held_against_the_teacher_and_methods_against_each_other() -> None:
    claims = claims_by_pair(labels_of())
    assert list(claims) == [
        ("autobuild-1", "the teacher"),
        ("autobuild-2, exhaustive-1", "the teacher"),
        ("autobuild (2)", "exhaustive (1)"),
        ("autobuild (2)", "random (1)"),
        ("exhaustive (1)", "random (1)"),
    ]
    near, far = (claims[pair] for pair in list(claims)[:2])
    assert near.verdict.is_as_good
    assert near.words.endswith("as good as the teacher (non-inferior, margin 0.82)")
    assert far.words == "worse"
    assert claims["autobuild (2)", "random (1)"].words == "better"
    assert {claim.verdict.claims for claim in claims.values()} == {5}
    assert {claim.verdict.difference.test for claim in claims.values()} == {"paired"}


def test_a_methods_difference_is_that_of_the_means_of_its_designs() -> None:
    labels = {label.arch_key: label.scalar(COLUMN) for label in labels_of()}
    claim = claims_by_pair(labels_of())["autobuild (2)", "exhaustive (1)"]
    expected = (labels[SMALL.key] + labels[TINY.key]) / 2 - labels[TINY.key]
    assert claim.verdict.difference.value == pytest.approx(expected)
    assert claim.verdict.difference.se < 0.1, "what both are of leaves the difference"


def test_labels_without_blocks_decide_nothing_that_scenes_hide() -> None:
    claims = claims_by_pair(labels_of(blocks=False))
    assert {claim.words.partition(" beyond")[0] for claim in claims.values()} == {"no difference"}
    notes = claim_notes(list(claims.values()))
    assert any("labels have no blocks" in note for note in notes)
    assert any("Holm for 5 claims" in note for note in notes)


def test_three_seeds_of_all_make_claims_of_other_seeds_too() -> None:
    claims = claims_by_pair(labels_of(seeds=3), seed=1)
    assert {claim.verdict.difference.test for claim in claims.values()} == {"crossed"}
    labels = [x for x in labels_of(seeds=3) if x.arch_key != BASE.key or x.seed == 1]
    claims = claims_by_pair(labels, seed=1)
    tests = {pair: claim.verdict.difference.test for pair, claim in claims.items()}
    assert tests["autobuild-1", "the teacher"] == "crossed"
    assert tests["autobuild (2)", "random (1)"] == "paired", "one of them has a single seed"


def test_without_the_teacher_or_errors_nothing_is_claimed() -> None:
    labels = labels_of()
    assert make_claims(labels[1:], DESIGNS, COLUMN, 0, 0.01) == ()
    bare = [measured(tiny_member(name), value) for name, value in SHIFTS.items()]
    assert make_claims(bare, DESIGNS, COLUMN, 0, 0.01) == ()
    assert make_claims(labels, DESIGNS, COLUMN, 7, 0.01) == (), "no label has the study's seed"
    assert claim_notes(()) == []


def test_the_same_architectures_of_two_methods_are_no_claim() -> None:
    designs = [make_design(SMALL, method, 1) for method in ("autobuild", "exhaustive")]
    (claim,) = make_claims(labels_of(), designs, COLUMN, 0, 0.01)
    assert (claim.first, claim.names) == (
        "autobuild-1, exhaustive-1",
        ("autobuild-1", "exhaustive-1"),
    )
    assert claim.verdict.test.endswith("one claim")


def test_the_margin_is_the_studys_share_of_the_teacher_and_in_no_labels_identity(
    tmp_path: Path,
) -> None:
    keys, margins = set(), []
    for share in (0.01, 0.2):
        study = make_study(tmp_path / str(share), f"[report]\nmargin = {share}\n")
        write_designs(study, DESIGNS)
        for label in labels_of():
            study.labels.write(label)
        keys.add(str(study.series))
        margins.append(read_claims(study)[0].verdict.margin)
    assert len(keys) == 1
    assert margins[1] == pytest.approx(20 * margins[0])
    teacher = labels_of()[0].scalar(COLUMN)
    assert margins[0] == pytest.approx(0.01 * teacher)
