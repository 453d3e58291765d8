from __future__ import annotations

import json
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sdsearch.errors import InputError, WorkError
from sdsearch.export.hub import plan_push, push
from sdsearch.export.inventory import list_own_files, record_files
from sdsearch.keys import file_sha256
from sdsearch.stages.export import push_export

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "autobuild-1"
    (made / "unet").mkdir(parents=True)
    (made / "model_index.json").write_text("{}")
    (made / "unet" / "config.json").write_text("{}}")
    record_files(made, list_own_files(made))
    return made


class Hub:
    """Stands for `HfApi`; notes what it is asked."""

    asked: list[str]

    def __init__(self) -> None:
        Hub.asked = []

    def create_repo(self, repository: str, **options: Any) -> None:
        Hub.asked.append(f"create {repository} {options}")

    def create_commit(self, *arguments: Any, **options: Any) -> None:
        raise OSError("no network")


def test_a_plan_lists_the_files_and_leaves_the_machine_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", None)  # any use would fail
    plan = plan_push(folder, "me/small-unet")
    assert plan.files == ("model_index.json", "unet/config.json", "files.json")
    assert plan.size == 5 + (folder / "files.json").stat().st_size
    push_export(folder, "me/small-unet", confirmed=False)
    said = capsys.readouterr().err
    assert "unet/config.json" in said
    assert "nothing was pushed" in said


class Taking(Hub):
    """Takes every file."""

    files: dict[str, bytes]

    def create_commit(self, *arguments: Any, **options: Any) -> SimpleNamespace:
        Taking.files = {}
        for one in arguments[1]:
            with one.as_file() as stream:
                Taking.files[one.path_in_repo] = stream.read()
        return SimpleNamespace(commit_url="done")


@pytest.mark.parametrize("name", ["small-unet", "a/b/c", "me/", "../me/x", "me/sp ace"])
def test_a_repository_must_be_owner_and_name(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="owner/name"):
        plan_push(folder, name)


def test_only_an_exported_pipeline_is_pushed(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"no files\.json"):
        plan_push(tmp_path, "me/small-unet")


def test_what_somebody_put_beside_an_export_is_not_pushed(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("hf_secret")
    before = plan_push(folder, "me/small-unet").files
    (folder / "notes.txt").write_text("mine")
    (folder / ".env").write_text("TOKEN=1")
    (folder / "link.json").symlink_to(secret)
    assert plan_push(folder, "me/small-unet").files == before


@pytest.mark.parametrize("how", ["changed", "missing", "link"])
def test_an_export_with_a_file_that_is_not_as_it_was_written_is_not_pushed(
    folder: Path, tmp_path: Path, how: str
) -> None:
    file = folder / "unet" / "config.json"
    text = file.read_text()
    file.unlink()
    if how == "changed":
        file.write_text(text.replace("}", "]", 1))
    elif how == "link":
        (tmp_path / "elsewhere").write_text(text)
        file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"unet/config\.json .* missing or changed"):
        plan_push(folder, "me/small-unet")


def test_a_file_that_changes_between_plan_and_push_is_not_pushed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    plan = plan_push(folder, "me/small-unet")
    (folder / "unet" / "config.json").write_text("{}]")
    with pytest.raises(WorkError, match=r"unet/config\.json changed after the plan"):
        push(plan)
    assert Hub.asked == [], "not even the repository was made"


@pytest.mark.parametrize("hidden", [".git", "a/.cache"])
def test_what_lies_in_hidden_or_linked_folders_is_neither_listed_nor_pushed(
    folder: Path, tmp_path: Path, hidden: str
) -> None:
    for home in (folder / hidden, tmp_path / "elsewhere"):
        home.mkdir(parents=True)
        (home / "config").write_text("token")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    before = plan_push(folder, "me/small-unet").files
    record_files(folder, list_own_files(folder))
    assert plan_push(folder, "me/small-unet").files == before
    inventory = json.loads((folder / "files.json").read_text())
    for name in (f"{hidden}/config", "linked/config"):
        inventory["files"][name] = file_sha256(folder / name)
        (folder / "files.json").write_text(json.dumps(inventory))
        with pytest.raises(InputError, match=r"missing or changed"):
            plan_push(folder, "me/small-unet")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "a//b", "a\\b"])
def test_an_inventory_that_names_a_place_outside_counts_for_nothing(
    folder: Path, name: str
) -> None:
    inventory = json.loads((folder / "files.json").read_text())
    inventory["files"][name] = "0" * 64
    (folder / "files.json").write_text(json.dumps(inventory))
    with pytest.raises(InputError, match=r"no files\.json"):
        plan_push(folder, "me/small-unet")


def test_the_card_on_the_hub_loads_from_there_and_the_inventory_lists_it_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Taking)
    card = folder / "README.md"
    card.write_text('here = "."  # the folder\n')
    record_files(folder, [card])
    plan = plan_push(folder, "me/small-unet")
    assert push(plan) == "done"
    taken = {name: data for name, data in Taking.files.items() if name in plan.rewritten}
    assert taken["README.md"] == b'here = "me/small-unet"  # the folder\n'
    listed = json.loads(taken["files.json"])["files"]
    assert listed["README.md"] == sha256(taken["README.md"]).hexdigest()
    assert Taking.files.keys() == {*listed, "files.json"}
    assert card.read_text() == 'here = "."  # the folder\n', "what lies here stays"
    assert plan.size == sum(map(len, Taking.files.values()))


def test_a_refused_push_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    with pytest.raises(WorkError, match="hf auth login"):
        push(plan_push(folder, "me/small-unet"))
    assert Hub.asked == ["create me/small-unet {'private': True, 'exist_ok': True}"]
