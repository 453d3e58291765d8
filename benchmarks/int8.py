"""Measure int8 on the embedded teacher and on the best measured UNet of 60 % of its MACs.

    python -m benchmarks.int8 FOLDER          # ten minutes on 2 busy cores; killed, it goes on

Each is exported to ONNX, quantised, timed and measured by the protocol of the demo's labels, as
`sdsearch export --onnx --quantize int8` does it, in float32 and int8, by torch, onnxruntime and,
where it is installed, torchao. FOLDER keeps the study and the exports. The tables go into int8.json
and int8.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch import create_study
from sdsearch.assets import TINY_DESIGNS, TINY_TABLE, TINY_TEACHER, asset_path
from sdsearch.files import as_text, write_atomic
from sdsearch.harness import run_harness
from sdsearch.labels import (
    RUNTIME_HEADER,
    RuntimeTable,
    read_label_table,
    read_runtimes,
    runtime_notes,
    runtime_rows,
)
from sdsearch.pipelines import open_pipeline, read_part
from sdsearch.runtimes import export_onnx
from sdsearch.stages import add_int8, add_onnx, export_designs
from sdsearch.study import RuntimesRequest, read_study
from sdsearch.unet import TINY, UNPRUNED, count_macs
from sdsearch.weights import load_unet_part
from tests.fakes import list_members, make_design, write_designs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture

HERE = Path(__file__).parent
SHARE = 0.60
"""Of the teacher's multiply-accumulates: the demo's budget."""
PACKAGES = ("torch", "diffusers", "onnx", "onnxruntime", "torchao")


def main() -> None:
    """Measure both, and write what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    root = parser.parse_args().folder.resolve() / "study"
    made = (root / "study.toml").is_file()
    study = read_study(root) if made else create_study(root).folder
    found = {"teacher": measure_teacher(study), "best design": measure_best(study)}
    data = {name: table.model_dump(mode="json") for name, table in found.items()}
    write_atomic(HERE / "int8.json", json.dumps(data, indent=1) + "\n")
    write_atomic(HERE / "int8.md", show_tables(found))


def measure_teacher(study: StudyFolder) -> RuntimeTable:
    """The runtimes of the unpruned teacher."""
    folder = study.root / "teacher-in-runtimes"
    if not (folder / "onnx").is_dir():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(asset_path(TINY_TEACHER), folder)
        unet = load_unet_part(read_part(open_pipeline("tiny"), "unet"))
        unet.save_pretrained(folder / "unet")  # it comes in half precision
        export_onnx(folder)
    if not (folder / "runtimes.json").is_file():
        run_harness(RuntimesRequest(study=study.root, pipeline=folder))
    return _read(folder)


def measure_best(study: StudyFolder) -> RuntimeTable:
    """The runtimes of the UNet of `find_best_arch`, exported as a design."""
    arch = find_best_arch()
    design = make_design(arch, "autobuild", 1)
    list_members(study, [arch])
    write_designs(study, [design])
    (folder,) = export_designs(study, [design.name])
    add_onnx(folder)
    add_int8(folder, study)
    return _read(folder)


def find_best_arch() -> Architecture:
    """The architecture within the budget that paints best, of all that come measured."""
    most = SHARE * count_macs(UNPRUNED, TINY, TINY.sample_size).total
    labels = [
        label
        for table in (TINY_DESIGNS, TINY_TABLE)
        for label in read_label_table(asset_path(table))
        if not label.failure and label.seed == 0 and label.scalar("macs") <= most
    ]
    return min(labels, key=lambda label: label.scalar("fd_efflite0")).architecture


def _read(folder: Path) -> RuntimeTable:
    table = read_runtimes(folder / "runtimes.json")
    assert table is not None, "it was just written"
    return table


def show_tables(tables: Mapping[str, RuntimeTable]) -> str:
    """The page: a table for each UNet, with what there is to say below it."""
    lines = [
        "# int8, measured",
        "",
        "`python -m benchmarks.int8 FOLDER`: the embedded tiny teacher, and the best measured UNet",
        f"of {SHARE:.0%} of its MACs ([docs/int8.md](../docs/int8.md)).",
        "All numbers are of a tiny model. " + ", ".join(_versions()) + ".",
    ]
    for name, table in tables.items():
        lines += ["", f"## {name}", "", _row(RUNTIME_HEADER), "|---" * len(RUNTIME_HEADER) + "|"]
        lines += [_row(row) for row in runtime_rows(table)]
        lines += [text for note in runtime_notes(table) for text in ("", as_text(note))]
        worst = ", ".join(f"{one.part} {one.error:.2%}" for one in table.parts[:7])
        lines += ["", as_text(f"Change of the output by rounding one part alone: {worst}.")]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(as_text(cell) for cell in cells)} |"


def _versions() -> list[str]:
    found = [f"{platform.machine()}, Python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
