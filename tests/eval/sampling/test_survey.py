from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from sdsearch.cli.main import app
from sdsearch.errors import InputError
from sdsearch.keys import with_seal, without_seal
from sdsearch.space.latency import LatencyConditions, design_survey, fit_latency_table, read_survey
from sdsearch.space.space import search_space
from sdsearch_eval.sampling.survey import fill_survey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _keep_threads() -> Iterator[None]:
    """A survey sets its own number of threads; other tests keep theirs."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def begin(path: Path, members: int = 20, **conditions: object) -> None:
    chosen = {"latent": (8, 8), "rounds": 2, "runs": 1, **conditions}
    wanted = LatencyConditions.model_validate(chosen)
    survey = design_survey(search_space("tiny"), members, wanted, np.random.default_rng(0))
    path.write_text(survey.model_dump_json())


def test_a_killed_survey_goes_on_and_keeps_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    begin(path)
    survey = read_survey(path)
    early = survey.members[:3]
    path.write_text(survey.model_copy(update={"members": early}).model_dump_json())

    def kill(done: int, total: int) -> None:
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_survey(path, kill)
    half = read_survey(path)
    assert [len(member.milliseconds) for member in half.members] == [2, 1, 1]
    counted: list[int] = []
    whole = fill_survey(path, lambda done, _: counted.append(done))
    assert counted == [5, 6]
    assert whole == read_survey(path)
    assert whole.is_complete
    assert all(
        now.milliseconds[: len(then.milliseconds)] == then.milliseconds
        for now, then in zip(whole.members, half.members, strict=True)
    )
    assert whole.versions.keys() == {"torch", "diffusers"}
    assert whole.hardware


def test_rounds_of_another_machine_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    begin(path, rounds=1)
    fill_survey(path)
    survey = without_seal(json.loads(path.read_text())) | {"hardware": "another"}
    survey["members"][4]["milliseconds"] = []
    path.write_text(json.dumps(with_seal(survey)))
    with pytest.raises(InputError, match="one machine"):
        fill_survey(path)


def test_a_device_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "survey.json"
    begin(path, device="cuda:7")
    with pytest.raises(InputError, match="cuda:7"):
        fill_survey(path)


@pytest.mark.slow
@pytest.mark.alone
def test_the_tiny_table_predicts_members_outside_of_it(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    made = CliRunner().invoke(app, ["latency", str(path), "--threads", "1", "--json"])
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    print(f"latency table, tiny: {found['error']['mape']:.1f} % +- {found['error']['se']:.1f}")  # noqa: T201
    assert found["error"]["n"] == 48
    assert found["error"]["mape"] <= 12
    # Other members than those fitted, measured afresh.
    fresh = tmp_path / "fresh.json"
    conditions = read_survey(path.with_suffix(".survey.json")).conditions
    survey = design_survey(search_space("tiny"), 24, conditions, np.random.default_rng(1))
    survey = survey.model_copy(update={"members": survey.members[4:]})
    fresh.write_text(survey.model_dump_json())
    table = fit_latency_table(read_survey(path.with_suffix(".survey.json")))
    errors = [
        abs(table.predict(member.architecture) / member.median - 1)
        for member in fill_survey(fresh).members
    ]
    assert np.mean(errors) <= 0.12
    said = CliRunner().invoke(app, ["latency", str(path), "--predict", "bk-base"])
    assert "ms a UNet call" in said.output
