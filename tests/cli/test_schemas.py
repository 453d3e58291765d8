from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from typer.testing import CliRunner

from scripts.make_schemas import FOLDER, schemas
from sdsearch.cli.main import app, sample
from tests.fakes import label_by_params, make_study

if TYPE_CHECKING:
    from pathlib import Path

TOML = "[space]\nlabels = 12\n[build]\ntop = 2\nmethods = ['autobuild', 'random', 'pareto']\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_study(tmp_path_factory.mktemp("study"), TOML)
    sample(made)
    label_by_params(made)
    return made.root


def test_the_committed_schemas_are_those_of_the_code() -> None:
    committed = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert committed == schemas(), "run: python scripts/make_schemas.py"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "score", "build"])
def test_what_a_command_prints_as_json_is_valid_by_its_schema(study: Path, command: str) -> None:
    schema = json.loads((FOLDER / f"{command}.schema.json").read_text())
    done = CliRunner().invoke(app, [command, str(study), "--json"])
    assert done.exit_code == 0, done.output
    printed: Any = json.loads(done.stdout)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    validator.validate(printed)
    damaged = printed[0] if command == "build" else printed
    damaged.pop("predictors" if command == "fit" else "units" if command == "score" else "params")
    assert list(validator.iter_errors(printed))


def test_the_status_of_labels_is_valid_by_its_schema(study: Path) -> None:
    schema = json.loads((FOLDER / "label-status.schema.json").read_text())
    done = CliRunner().invoke(app, ["label", str(study), "--status", "--json"])
    assert done.exit_code == 0, done.output
    printed: Any = json.loads(done.stdout)
    jsonschema.Draft202012Validator(schema).validate(printed)
    (status,) = printed
    assert (status["ok"], status["waiting"], status["running"]) == (16, 0, [])
