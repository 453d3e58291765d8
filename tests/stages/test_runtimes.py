"""int8 beside an export: measured once, recorded, in the card, and made again where it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sdsearch.errors import InputError
from sdsearch.export.inventory import read_inventory, record_files
from sdsearch.labels.runtimes import ONNX_INT8, TORCH
from sdsearch.stages import export as stage
from sdsearch.stages.export import add_int8, check_additions
from sdsearch.study.requests import RuntimesRequest
from tests.export.exports import export_now, save_weights
from tests.fakes import (
    fake_teacher,
    make_design,
    make_study,
    measured,
    tiny_member,
    write_designs,
)
from tests.labels.test_runtimes import runtime, table

if TYPE_CHECKING:
    from pathlib import Path


def test_int8_is_measured_once_recorded_in_the_card_and_again_where_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = fake_teacher(tmp_path / "teacher")
    study = make_study(tmp_path / "study", f"[teacher]\npipeline = {str(teacher)!r}\n")
    study.labels.write(measured(tiny_member("bk-tiny"), 212.5, 3.0))
    save_weights(study, teacher)
    design = make_design(tiny_member("bk-tiny"), "autobuild", 1)
    write_designs(study, [design])
    folder = export_now(design, study)
    asked: list[Any] = []
    made = table(runtime(TORCH, 80.0, 20.0), runtime(ONNX_INT8, 85.0, 30.0, own=0.1))

    def measure(request: Any) -> None:
        asked.append(request)
        (folder / "onnx-int8" / "unet").mkdir(parents=True, exist_ok=True)
        (folder / "onnx-int8" / "unet" / "model.onnx").write_bytes(b"int8")
        (folder / "runtimes.json").write_text(made.to_json())

    monkeypatch.setattr(stage, "run_harness", measure)
    add_int8(folder, study)
    assert asked == [RuntimesRequest(study=study.root, pipeline=folder)]
    assert {"onnx-int8/unet/model.onnx", "runtimes.json"} <= read_inventory(folder).keys()
    card = (folder / "README.md").read_text()
    assert "## Runtimes" in card
    assert "| peak MB |\n|---|---|---|---|---|---|\n| torch float32 | 80 ± " in card
    assert "| ONNX int8 | 85 ± " in card
    assert "Slower here than torch float32: ONNX int8 (1.5 times)." in card
    add_int8(folder, study)
    assert len(asked) == 1
    (folder / "onnx-int8" / "unet" / "model.onnx").write_bytes(b"other")
    add_int8(folder, study)
    assert len(asked) == 2
    record_files(folder, [])
    assert export_now(design, study) == folder
    assert (folder / "runtimes.json").is_file(), "int8 is no reason to export again"


@pytest.mark.parametrize(
    ("onnx", "quantize", "reason"),
    [(True, "int4", "but not to 'int4'"), (False, "int8", "ONNX files, but they are not")],
)
def test_other_precisions_and_int8_without_onnx_are_refused(
    onnx: bool, quantize: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        check_additions(make_study(tmp_path / "study"), onnx=onnx, quantize=quantize)
