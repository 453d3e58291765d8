"""A probe, and the one-shot scores that follow from it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sdsearch.design.probe import LEAST_ERROR, Probe, log_errors, read_probe, score_by_probe
from sdsearch.errors import InputError
from sdsearch.space.removals import list_losses
from sdsearch.space.space import search_space
from sdsearch.unet.architecture import UNPRUNED
from tests.planted import planted_probe

SPACE = search_space("tiny")
PROBE = planted_probe(SPACE)


def test_the_error_of_a_removal_is_the_weighted_mean_over_timesteps():
    probe = PROBE.model_copy(update={"weights": (0.75, 0.25)})
    first = probe.removals[0]
    assert probe.error(first) == pytest.approx(0.75 * first.errors[0] + 0.25 * first.errors[1])


def test_the_unpruned_net_is_best_and_its_error_nothing():
    errors = PROBE.option_errors(SPACE)
    home = SPACE.option_indices(UNPRUNED)
    assert all(one[digit] == 0 for one, digit in zip(errors, home, strict=True))
    scored = score_by_probe(errors)
    assert scored.top(1) == [SPACE.index(UNPRUNED)]
    assert scored.predicted.max() == pytest.approx(-np.log(LEAST_ERROR))


def test_one_shot_scores_are_sums_over_units_and_their_marginals_means():
    errors = PROBE.option_errors(SPACE)
    scored = score_by_probe(errors)
    rng = np.random.default_rng(0)
    for index in rng.choice(len(SPACE), 50):
        digits = SPACE.digits(np.array([index]))[0]
        total = sum(one[digit] for one, digit in zip(errors, digits, strict=True))
        assert scored.predicted[index] == pytest.approx(-np.log(total + LEAST_ERROR), rel=1e-6)
    cube = scored.predicted.reshape(SPACE.radices)
    for axis, marginal in enumerate(scored.marginals):
        others = tuple(i for i in range(4) if i != axis)
        np.testing.assert_allclose(marginal[:, 0], cube.mean(axis=others), rtol=1e-4)
    assert np.array_equal(log_errors(errors).astype(np.float32), -scored.predicted)


def test_a_slot_has_the_error_of_the_smallest_removal_that_takes_it_away():
    errors, found = PROBE.option_errors(SPACE), PROBE.slot_errors(SPACE)
    losses = list_losses(SPACE, 0)
    alone = losses.index(frozenset({"down.0.attn.0"}))
    assert found["down.0.attn.0"] == errors[0][alone]
    shorter = next(loss for loss in losses if "down.0.res.1" in loss and len(loss) == 4)
    assert found["down.0.res.1"] == found["up.3.res.1"] == errors[0][losses.index(shorter)]
    assert "conv_in" not in found


def test_a_probe_of_another_space_is_refused_with_the_next_step():
    with pytest.raises(InputError, match="sdsearch probe"):
        PROBE.option_errors(search_space("sd14-blocks", SPACE.backbone))


def test_a_probe_is_read_as_it_was_written_and_damage_is_named(tmp_path):
    file = tmp_path / "probe.json"
    assert read_probe(file) is None
    file.write_text(PROBE.to_json(), encoding="utf-8")
    assert read_probe(file) == PROBE
    file.write_text(PROBE.to_json().replace("processor", "prozessor"), encoding="utf-8")
    with pytest.raises(InputError, match="remove the file, then run: sdsearch probe"):
        read_probe(file)


@pytest.mark.parametrize(
    "change",
    [{"weights": [1.0]}, {"weights": [0.7, 0.7]}, {"timesteps": [], "weights": []}],
)
def test_weights_and_errors_go_with_timesteps(change):
    said = json.loads(PROBE.model_dump_json()) | change
    with pytest.raises(ValueError, match=r"timestep"):
        Probe.model_validate(said)
