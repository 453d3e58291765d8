from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdsearch.errors import InputError, WorkError
from sdsearch.export.hub import plan_push, push
from sdsearch.stages.export import push_export

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "autobuild-1"
    (made / "unet").mkdir(parents=True)
    (made / "model_index.json").write_text("{}")
    (made / "unet" / "config.json").write_text("{}}")
    return made


class Hub:
    """Stands for `HfApi`; notes what it is asked."""

    asked: list[str]

    def __init__(self) -> None:
        Hub.asked = []

    def create_repo(self, repository: str, **options: Any) -> None:
        Hub.asked.append(f"create {repository} {options}")

    def upload_folder(self, **options: Any) -> None:
        raise OSError("no network")


def test_a_plan_lists_the_files_and_leaves_the_machine_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", None)  # any use would fail
    plan = plan_push(folder, "me/small-unet")
    assert plan.files == ("model_index.json", "unet/config.json")
    assert plan.size == 5
    push_export(folder, "me/small-unet", confirmed=False)
    said = capsys.readouterr().err
    assert "unet/config.json" in said
    assert "nothing was pushed" in said


@pytest.mark.parametrize("name", ["small-unet", "a/b/c", "me/", "../me/x", "me/sp ace"])
def test_a_repository_must_be_owner_and_name(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="owner/name"):
        plan_push(folder, name)


def test_only_an_exported_pipeline_is_pushed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no model_index\.json"):
        plan_push(tmp_path, "me/small-unet")


def test_a_refused_push_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    with pytest.raises(WorkError, match="hf auth login"):
        push(plan_push(folder, "me/small-unet"))
    assert Hub.asked == ["create me/small-unet {'private': True, 'exist_ok': True}"]
