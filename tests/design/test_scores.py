import numpy as np
import pytest

from sdsearch.design.scores import (
    CLEAR_SPREADS,
    BlockScore,
    OptionScore,
    Scores,
    SpaceScores,
    UnitScores,
    best_of,
    read_scores,
)
from sdsearch.errors import InputError


def option(number: int, score: float) -> OptionScore:
    return OptionScore(
        option=number, words=f"option {number}", score=score, effect=score, spread=0.01
    )


def block(
    name: str, effect: float, together: tuple[str, ...] = (), spread: float = 0.05
) -> BlockScore:
    return BlockScore(
        name=name, unit="level0", effect=effect, spread=spread, together_with=together
    )


SCORES = Scores(
    space="tiny",
    kind="gnn",
    rule="partial-dependence",
    mean=-3.0,
    blocks=(
        block("down.0.res.1", -0.4, ("up.3.res.1",)),
        block("down.0.attn.0", 0.1),
        block("up.3.res.1", -0.39, ("down.0.res.1",)),
    ),
    units=(
        UnitScores(
            unit="level0", stability=0.9, options=(option(0, -0.5), option(1, 0.3), option(2, 0.2))
        ),
        UnitScores(unit="level1", stability=0.9, options=(option(0, 0.01), option(1, -0.01))),
    ),
)


def test_top_k_is_best_first() -> None:
    assert [one.option for one in SCORES.top_k("level0", 2)] == [1, 2]
    assert len(SCORES.top_k("level1", 9)) == 2


def test_an_unknown_unit_names_the_nearest() -> None:
    with pytest.raises(InputError, match="level0"):
        SCORES.top_k("levle0", 1)


def test_scores_round_trip_through_json_with_their_schema() -> None:
    text = SCORES.model_dump_json()
    assert '"schema":2' in text
    assert Scores.model_validate_json(text) == SCORES


def test_damaged_scores_say_how_to_make_them_again(tmp_path) -> None:
    file = tmp_path / "scores.json"
    assert read_scores(file) is None
    file.write_text('{"units": [')
    with pytest.raises(
        InputError, match=r"scores\.json.*remove the file, then run: sdsearch score"
    ):
        read_scores(file)


def test_insights_say_what_matters_what_to_keep_and_what_can_go() -> None:
    said = "\n".join(SCORES.insights())
    assert "level0 matters most" in said
    assert "Best option of level0: option 1" in said
    assert "Keep down.0.res.1: removing it (with up.3.res.1) costs 0.4" in said
    assert "Keep up.3.res.1" not in said
    assert "down.0.attn.0 can go" in said


@pytest.mark.parametrize(
    ("effect", "spread", "unclear"),
    [
        (-0.4, 0.05, False),
        (0.1, 0.05, False),
        (0.09, 0.05, True),
        (-0.09, 0.05, True),
        (0.0, 0.05, True),
        (0.0, 0.0, True),
        (1e-9, 0.0, False),
    ],
)
def test_a_block_is_unclear_within_two_spreads_or_where_its_effect_is_nothing(
    effect: float, spread: float, unclear: bool
) -> None:
    assert CLEAR_SPREADS == 2.0
    assert block("mid.attn.0", effect, spread=spread).unclear == unclear


def test_insights_name_blocks_that_cannot_be_told_from_zero_and_keep_none_for_them() -> None:
    open_ones = (block("up.3.attn.0", -0.09), block("up.3.attn.1", 0.02))
    scores = SCORES.model_copy(update={"blocks": (*SCORES.blocks, *open_ones)})
    said = scores.insights()
    assert scores.unclear_blocks == ("up.3.attn.0", "up.3.attn.1")
    assert not any(line.startswith("Keep up.3.attn") for line in said)
    assert (
        "up.3.attn.1 can go: removing it gains 0.02 ± 0.05 of the target, which cannot be told "
        "from zero." in said
    )
    assert said[-1] == (
        "The effects of 2 of 5 blocks cannot be told from zero: up.3.attn.0, up.3.attn.1."
    )
    assert not any("told from zero" in line for line in SCORES.insights())


def test_best_of_orders_ties_by_position() -> None:
    values = np.array([1.0, 3.0, 3.0, 2.0, 3.0])
    names = np.arange(10, 15)
    assert best_of(values, 2, names) == [11, 12]
    assert best_of(values, 9, names) == [11, 12, 14, 13, 10]
    assert best_of(values[:0], 3, names[:0]) == []


def test_top_of_a_space_can_be_limited_to_allowed_members() -> None:
    scored = SpaceScores(np.array([0.0, 5.0, 2.0, 3.0], np.float32), np.zeros(4, np.float32), ())
    assert scored.top(2) == [1, 3]
    assert scored.top(2, np.array([True, False, True, False])) == [2, 0]


@pytest.mark.parametrize("held", [b"", b"no tensors", None])
def test_predictions_that_are_damaged_or_gone_say_what_to_do(held, tmp_path):
    file = tmp_path / "predictions.safetensors"
    if held is not None:
        file.write_bytes(held)
    with pytest.raises(InputError, match=r"predictions\.safetensors.*sdsearch score"):
        SpaceScores.load(file)


def test_insights_of_a_single_model_give_no_spread() -> None:
    scores = SCORES.model_copy(
        update={
            "blocks": tuple(one.model_copy(update={"spread": 0.0}) for one in SCORES.blocks),
            "units": tuple(
                unit.model_copy(
                    update={
                        "options": tuple(
                            one.model_copy(update={"spread": 0.0}) for one in unit.options
                        )
                    }
                )
                for unit in SCORES.units
            ),
        }
    )
    said = scores.insights()
    assert any("costs" in line for line in said)
    assert not any("±" in line for line in said)
