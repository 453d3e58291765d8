from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdsearch.errors import InputError
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
