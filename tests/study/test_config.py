from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
from sdsearch.planning.checks import check_study
from sdsearch.study.folder import load_meter
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path


def test_a_study_states_the_loss_that_does_not_matter_or_takes_one_percent(tmp_path: Path) -> None:
    assert make_study(tmp_path / "none").config.report.margin == 0.01
    said = make_study(tmp_path / "said", "[report]\nmargin = 0.05\n")
    assert said.config.report.margin == 0.05


@pytest.mark.parametrize("margin", ["0", "-0.01", "1", "nan", '"one"'])
def test_a_margin_that_is_no_share_is_refused(tmp_path: Path, margin: str) -> None:
    with pytest.raises(InputError, match=r"'margin' in \[report\] is"):
        make_study(tmp_path, f"[report]\nmargin = {margin}\n")


def test_a_study_states_where_its_designs_have_to_load(tmp_path: Path) -> None:
    assert make_study(tmp_path / "none").config.build.loads_in == ()
    said = make_study(tmp_path / "said", '[build]\nloads_in = ["single-file"]\n')
    assert said.config.build.loads_in == ("single-file",)
    assert load_meter(said).loads_in == ("single-file",)


@pytest.mark.parametrize(
    ("loads_in", "words"),
    [('["comfy"]', "did you mean 'comfyui'"), ('"comfyui"', "is a list of names"), ("[1]", "is 1")],
)
def test_a_program_that_nobody_knows_is_refused(tmp_path: Path, loads_in: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_study(tmp_path, f"[build]\nloads_in = {loads_in}\n")


def test_a_study_of_which_nothing_loads_is_refused_before_any_work(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", '[build]\nloads_in = ["comfyui"]\n')
    with pytest.raises(InputError, match="must load in comfyui, but 0 of tiny do"):
        check_study(study)
