"""Two at once: whoever comes second waits, and neither removes what the other writes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from sdsearch import export, runtimes
from sdsearch.export.inventory import find_changed, read_inventory, record_files
from sdsearch.stages import export as stage
from sdsearch.stages.export import add_onnx, export_designs
from sdsearch.study.locks import one_at_a_time
from tests.fakes import make_design, make_study, tiny_member, write_designs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder
    from sdsearch.study.requests import ThumbnailsRequest


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study of two designs, whose exports are a file each."""
    made = make_study(tmp_path / "study")
    archs = [tiny_member("bk-tiny"), tiny_member("bk-small")]
    write_designs(made, [make_design(arch, "autobuild", n) for n, arch in enumerate(archs, 1)])

    def export_one(design: object, study: StudyFolder, teacher: str) -> Path:
        folder = study.pipelines_dir / design.name
        if not read_inventory(folder) or find_changed(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "design.json").write_text(str(time.monotonic_ns()))
            record_files(folder, [folder / "design.json"])
        return folder

    monkeypatch.setattr(export, "export_pipeline", export_one)
    monkeypatch.setattr(export, "recover_missing", lambda *_: None)
    monkeypatch.setattr(export, "renew_card", lambda *_: None)
    return made


def test_of_two_exports_at_once_one_paints_and_both_are_whole(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def paint(request: ThumbnailsRequest) -> None:
        asked.append(request.designs)
        for name in request.designs:
            folder = study.pipelines_dir / name
            time.sleep(0.1)
            (folder / "thumbnails").mkdir()  # fails where another has been faster
            (folder / "thumbnails" / "scene-1.webp").write_text(name)
            (folder / "costs.json").write_text("{}")

    monkeypatch.setattr(stage, "run_harness", paint)
    orders = [["autobuild-1", "autobuild-2"], ["autobuild-2", "autobuild-1"]]
    with ThreadPoolExecutor(2) as pool:
        for run in [pool.submit(export_designs, study, order) for order in orders]:
            run.result(60)
    assert len(asked) == 1
    for name in orders[0]:
        folder = study.pipelines_dir / name
        assert find_changed(folder) == []
        assert set(read_inventory(folder)) == {
            *("design.json", "costs.json", "thumbnails/scene-1.webp")
        }


def test_of_two_that_add_onnx_to_an_export_one_makes_it(
    study: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "add_thumbnails", lambda *_: None)
    (folder,) = export_designs(study, ["autobuild-1"])
    made: list[Path] = []

    def make(folder: Path) -> dict[str, float]:
        made.append(folder)
        time.sleep(0.1)
        (folder / "onnx").mkdir(exist_ok=True)
        (folder / "onnx" / "checked.json").write_text("{}")
        return {}

    monkeypatch.setattr(runtimes, "export_onnx", make)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(add_onnx, [folder, folder]))
    assert made == [folder]
    assert "onnx/checked.json" in read_inventory(folder)


def test_who_holds_a_lock_may_enter_again_and_others_wait(tmp_path: Path) -> None:
    order: list[str] = []

    @contextmanager
    def at_work(name: str) -> Iterator[None]:
        with one_at_a_time(tmp_path, "this"), one_at_a_time(tmp_path, "this"):
            order.append(name)
            yield
            order.append(name)

    def work(name: str) -> None:
        with at_work(name):
            time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert [order[at] == order[at + 1] for at in range(0, 8, 2)] == [True] * 4
