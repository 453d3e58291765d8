from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sdsearch.labels.protocol import Protocol
from sdsearch.study.records import is_current, outputs_of, record_done
from tests.fakes import make_study

if TYPE_CHECKING:
    from pathlib import Path


def test_a_stage_is_current_until_inputs_or_outputs_change(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    output = tmp_path / "scores.json"
    output.write_text("{}")
    assert not is_current(study, "score", {"fit": "a"})
    record_done(study, "score", {"fit": "a"}, [output])
    assert is_current(study, "score", {"fit": "a"})
    assert not is_current(study, "score", {"fit": "b"})
    assert not is_current(study, "build", {"fit": "a"})
    output.write_text("[]")
    assert not is_current(study, "score", {"fit": "a"})
    output.unlink()
    assert not is_current(study, "score", {"fit": "a"})


def test_a_broken_record_means_that_the_stage_is_redone(tmp_path: Path) -> None:
    study = make_study(tmp_path)
    for text in ("", "[]", "{", '{"inputs_key": 1, "outputs": []}'):
        (tmp_path / "stages").mkdir(exist_ok=True)
        (tmp_path / "stages" / "fit.json").write_text(text)
        assert not is_current(study, "fit", {})


def test_a_record_holds_the_resolved_configuration_and_versions(tmp_path: Path) -> None:
    study = make_study(tmp_path, "[space]\nlabels = 5\n")
    output = tmp_path / "ranker" / "ranker.json"
    output.parent.mkdir()
    output.write_text("{}")
    record_done(study, "fit", {"labels": [["a", None]]}, [output])
    record = json.loads((tmp_path / "stages" / "fit.json").read_text())
    assert record["config"]["space"]["labels"] == 5
    assert record["config"]["protocol"]["steps"] == Protocol().steps
    assert "torch" in record["versions"]
    assert list(outputs_of(study, "fit")) == ["ranker/ranker.json"]
