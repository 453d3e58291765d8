"""What labels are worth: exact where halves find the same designs, or others of a known loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sdsearch.design import LabelWorth, halve_labels

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRUTH = np.arange(20.0)
ALL = np.ones(100, np.bool_)
WORTH = LabelWorth(
    labels=68,
    half=34,
    draws=20,
    kind="ridge-probe",
    used="gnn-probe",
    srcc=0.95,
    srcc_half=0.91,
    designs=4,
    loss=0.004,
    low=0.001,
    high=0.009,
    unit="fd_efflite0",
    margin=0.01,
)


def halve(
    learn: object, allowed: NDArray[np.bool_] = ALL, draws: int = 20
) -> tuple[float, NDArray[np.float64]]:
    return halve_labels(TRUTH, learn, allowed, 4, np.random.default_rng(0), draws)  # type: ignore[arg-type]


def test_the_loss_of_identical_designs_is_zero() -> None:
    members = np.random.default_rng(1).normal(size=100)
    srcc, losses = halve(lambda _: (TRUTH, members))
    assert srcc == 1.0
    assert (losses == 0).all()


def test_the_loss_is_what_the_prediction_of_all_labels_says_of_the_designs_of_half() -> None:
    """Half of the labels puts 50..53 first, all of them 96..99: 46 less, within the budget only."""
    members = np.arange(100.0)
    wrong = np.where((members >= 50) & (members < 54), 1000.0, 0.0)
    sizes: list[int] = []

    def learn(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sizes.append(len(rows))
        return -TRUTH, members if len(rows) == len(TRUTH) else wrong

    srcc, losses = halve(learn, draws=3)
    assert sizes == [20, 10, 10, 10]
    assert srcc == -1.0
    assert losses.tolist() == [46.0] * 3
    _, within = halve(learn, allowed=members < 60)
    assert within.tolist() == [6.0] * 20  # 56..59 are best there


def test_halves_are_seeded_and_differ() -> None:
    seen: list[tuple[int, ...]] = []

    def learn(rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        seen.append(tuple(rows))
        return TRUTH, np.zeros(100)

    halve(learn)
    halve(learn)
    assert seen[:21] == seen[21:]
    assert len(set(seen[1:21])) == 20


def test_worth_says_in_words_what_half_would_have_found_and_what_more_may_bring() -> None:
    said = WORTH.describe()
    assert said.startswith(
        "half of these 68 labels would have found 4 designs that are 0.4 % [0.1, 0.9] of "
        "fd_efflite0 worse by the present prediction (ridge-probe, which stands in for gnn-probe;"
    )
    assert "held-out SRCC 0.91 with 34 labels, 0.95 with all" in said
    assert said.endswith("more labels are not expected to change the designs by more than 1 %")
    loud = WORTH.model_copy(update={"high": 0.02, "used": "ridge-probe"})
    assert loud.more_may_help
    assert "stands in" not in loud.describe()
    assert "more labels may change the designs by more than 1 %" in loud.describe()


@pytest.mark.parametrize("field", ["srcc", "margin"])
def test_a_damaged_file_says_what_to_do(tmp_path, field: str) -> None:  # type: ignore[no-untyped-def]
    from sdsearch.errors import InputError

    file = tmp_path / "worth.json"
    file.write_text(WORTH.to_json().replace(f'"{field}":0', f'"{field}":1'))
    with pytest.raises(InputError, match="run: sdsearch fit"):
        LabelWorth.read(file, "what labels are worth", "sdsearch fit study")
