from __future__ import annotations

import inspect
import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from scripts.make_schemas import FOLDER, schemas
from sdsearch.cli.main import app
from sdsearch.cli.options import show, words_apart
from sdsearch.space.latency import fit_latency_table
from sdsearch.stages.sample import sample_study
from sdsearch.unet.architecture import UNPRUNED
from sdsearch.unet.backbone import TINY
from sdsearch.unet.config import unet_config
from tests.fakes import label_by_params, make_study
from tests.space.test_latency import planted_survey

TOML = "[space]\nlabels = 12\n[build]\ntop = 2\nmethods = ['autobuild', 'random', 'pareto']\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_study(tmp_path_factory.mktemp("study"), TOML)
    sample_study(made)
    label_by_params(made)
    return made.root


def test_the_committed_schemas_are_those_of_the_code() -> None:
    committed = {file.name: file.read_text() for file in FOLDER.iterdir()}
    assert committed == schemas(), "run: python scripts/make_schemas.py"


def check_printed(schema: str, *line: str, damage: str, code: int = 0) -> Any:
    """What a command prints with --json, valid by its schema and not without the field `damage`."""
    validator = jsonschema.Draft202012Validator(
        json.loads((FOLDER / f"{schema}.schema.json").read_text())
    )
    validator.check_schema(validator.schema)
    done = CliRunner().invoke(app, [*line, "--json"])
    assert done.exit_code == code, done.output
    printed: Any = json.loads(done.stdout)
    validator.validate(printed)
    damaged = json.loads(done.stdout)
    (damaged[0] if isinstance(damaged, list) else damaged).pop(damage)
    assert list(validator.iter_errors(damaged))
    return printed


def test_every_command_with_json_has_a_schema() -> None:
    named = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]
    with_json = {
        name
        for name, command in zip(named, app.registered_commands, strict=True)
        if command.callback and "as_json" in inspect.signature(command.callback).parameters
    }
    known = {name.removesuffix(".schema.json").removesuffix("-status") for name in schemas()}
    assert with_json == known == set(named) - {"app"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "damage"), [("fit", "predictors"), ("score", "units"), ("build", "params")]
)
def test_what_a_command_prints_as_json_is_valid_by_its_schema(
    study: Path, command: str, damage: str
) -> None:
    check_printed(command, command, str(study), damage=damage)


def test_the_json_of_a_space_is_valid_by_its_schema() -> None:
    printed = check_printed("space", "space", "--space", "sd14-blocks", damage="members")
    assert printed["size"] == 5632
    assert printed["members"]["bk-tiny"]["index"] < printed["size"]


def test_the_json_of_a_latency_table_is_valid_by_its_schema(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    table.write_text(fit_latency_table(planted_survey()).model_dump_json())
    printed = check_printed(
        "latency", "latency", str(table), "--predict", "bk-tiny", damage="error"
    )
    assert printed["member"] == "bk-tiny"
    assert printed["milliseconds"] > 0


@pytest.mark.parametrize(("heads", "code"), [(2, 0), (3, 2)])
def test_the_json_of_a_check_is_valid_by_its_schema(tmp_path: Path, heads: int, code: int) -> None:
    config = {**unet_config(UNPRUNED, TINY), "attention_head_dim": heads}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    line = ("check", str(file), "--against", "tiny")
    printed = check_printed("check", *line, damage="problems", code=code)
    assert bool(printed["problems"]) == bool(code)


def test_the_json_of_what_needs_no_work_is_valid_by_its_schema(study: Path, tmp_path: Path) -> None:
    made = str(tmp_path / "made")
    assert check_printed("init", "init", made, damage="created")["created"]
    assert not check_printed("init", "init", made, damage="created")["created"]
    assert check_printed("sample", "sample", str(study), damage="file")["architectures"] == 16
    planned = check_printed("run", "run", str(study), "--dry-run", damage="plan")
    assert (planned["report"], planned["pipelines"]) == (None, [])
    assert planned["plan"]["steps"][0]["name"] == "probe"
    report = check_printed("report", "report", str(study), damage="page")
    assert {row["name"] for row in report["rows"]} >= {"teacher", "evaluated uniform"}


@pytest.mark.parametrize(
    ("command", "method", "result", "damage"),
    [
        ("tune", "tune", Path("made"), "folder"),
        ("recover", "recover", Path("made"), "folder"),
        ("export", "export", [Path("made")], "pipelines"),
        ("compare", "compare", Path("made.png"), "picture"),
        ("check", "check", Path("made.png"), "contact_sheet"),
        ("run", "run", Path("made.html"), "plan"),
        ("label", "label", None, "ok"),
    ],
)
def test_words_of_long_work_do_not_mix_with_its_json(
    command: str,
    method: str,
    result: object,
    damage: str,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The work itself is left out; the first three of these print nothing on standard output."""

    def work(*_: object, **__: object) -> object:
        if command in ("check", "run"):
            show("a table")
        return result

    monkeypatch.setattr(f"sdsearch.api.study.Study.{method}", work)
    schema = "label-status" if command == "label" else command
    check_printed(schema, command, str(study), damage=damage)


def test_what_other_processes_print_goes_apart_too(capfd: pytest.CaptureFixture[str]) -> None:
    with words_apart(as_json=True):
        subprocess.run(["echo", "words"], check=True)
    subprocess.run(["echo", "after"], check=True)
    with words_apart(as_json=False):
        subprocess.run(["echo", "plain"], check=True)
    assert capfd.readouterr() == ("after\nplain\n", "words\n")


def test_the_status_of_labels_is_valid_by_its_schema(study: Path) -> None:
    (status,) = check_printed("label-status", "label", str(study), "--status", damage="ok")
    assert (status["ok"], status["waiting"], status["running"]) == (16, 0, [])
