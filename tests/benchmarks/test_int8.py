from __future__ import annotations

import json

from benchmarks.int8 import HERE, SHARE, find_best_arch, show_tables
from sdsearch.labels.runtimes import ONNX, ONNX_INT8, TORCH, TORCHAO, PartError, RuntimeTable
from sdsearch.unet import TINY, UNPRUNED, count_macs
from tests.labels.test_runtimes import runtime, table


def test_the_page_has_a_table_for_each_unet_and_its_notes() -> None:
    parts = (PartError(part="all", error=0.05), PartError(part="mid_block.resnets.0", error=0.04))
    made = table(runtime(TORCH, 80.0, 20.0), runtime(ONNX_INT8, 85.0, 30.0, own=0.1), parts=parts)
    page = show_tables({"teacher": made, "best design": made})
    assert page.count("| runtime | value |") == 2
    assert page.count("| ONNX int8 | 85 ± ") == 2
    assert "## best design" in page
    assert "all 5.00%, mid_block.resnets.0 4.00%" in page.replace("\\", "")


def test_the_best_measured_unet_is_within_the_budget() -> None:
    macs = [count_macs(arch, TINY, 16).total for arch in (find_best_arch(), UNPRUNED)]
    assert 0.3 < macs[0] / macs[1] <= SHARE


def test_the_committed_page_shows_the_committed_values_of_four_runtimes() -> None:
    said = json.loads((HERE / "int8.json").read_text())
    tables = {name: RuntimeTable.model_validate(one) for name, one in said.items()}
    assert list(tables) == ["teacher", "best design"]
    page = (HERE / "int8.md").read_text().splitlines()
    meant = show_tables(tables).splitlines()
    versions = [line.startswith("All numbers are of a tiny model.") for line in meant]
    assert [line for line, skip in zip(page, versions, strict=True) if not skip] == [
        line for line, skip in zip(meant, versions, strict=True) if not skip
    ]
    for found in tables.values():
        assert [one.name for one in found.runtimes] == [TORCH, ONNX, ONNX_INT8, TORCHAO]
        assert found.quantized is not None
        assert found.quantized.share <= 0.27
        whole, int8 = found.runtimes[1:3]
        assert int8.file_bytes < 0.4 * whole.file_bytes
