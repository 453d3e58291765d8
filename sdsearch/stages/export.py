"""The exports of a study, and what may be put beside one: ONNX, int8, a LoRA that fits, the hub."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

from sdsearch.console import say, working
from sdsearch.errors import HarnessError, InputError
from sdsearch.files import noticing_moves, read_json
from sdsearch.harness import run_harness
from sdsearch.labels import describe_runtimes, read_runtimes
from sdsearch.pipelines import open_pipeline
from sdsearch.space import why_not_loaded
from sdsearch.study import (
    RuntimesRequest,
    ThumbnailsRequest,
    find_best,
    find_design,
    find_teacher,
    load_space,
    name_teacher,
)
from sdsearch.unet import Architecture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.design import Design
    from sdsearch.study import StudyFolder

Precision = Literal["float16", "float32"]
"""Of a single file."""


def export_designs(
    study: StudyFolder, names: Sequence[str] = (), single_file: Precision | None = None
) -> list[Path]:
    """Export the named designs, by default the best measured ones, as stock diffusers pipelines.

    Args:
        study: where from, and where to.
        names: of designs.
        single_file: in which precision each is also written as one file in the original layout.

    Raises:
        InputError: nothing was built, there is no design of a name, or one cannot be a single file.
    """
    from sdsearch.export import at_export, export_pipeline, recover_missing, renew_card

    teacher = name_teacher(study)
    chosen = [find_design(study, name) for name in names] or find_best(study)
    if not chosen:
        raise InputError(f"there are no designs to export; run: sdsearch build {study.root}")
    if single_file is not None:
        _check_single_files(study, chosen)
    folders = []
    with ExitStack() as held:
        # In one order, so that nobody waits in a ring.
        for name in sorted({design.name for design in chosen}):
            held.enter_context(at_export(study.pipelines_dir / name))
        recover_missing(chosen, study)
        for design in chosen:
            with working(f"exporting {design.name}"), noticing_moves(study.root):
                folders.append(export_pipeline(design, study, teacher))
        add_thumbnails(study, folders)
        if single_file is not None:
            for folder in folders:
                add_single_file(folder, single_file)
        for design in chosen:
            renew_card(design, study, teacher)
    return folders


def check_additions(
    study: StudyFolder,
    *,
    onnx: bool = False,
    quantize: str | None = None,
    lora: Path | None = None,
    push: str | None = None,
) -> None:
    """Refuse beforehand what cannot be put beside an export of a study, or be pushed.

    Raises:
        InputError: an extra is missing, `onnx` or `lora`; `quantize` is not int8, or is without
            `onnx`; `lora` is no LoRA of the study's teacher;
            or `push` is no `owner/name`.
    """
    from sdsearch.adapters import check_peft, read_lora
    from sdsearch.export import check_repository
    from sdsearch.runtimes import check_onnx

    if quantize not in (None, "int8"):
        raise InputError(
            f"ONNX files can be quantised to int8, but not to {quantize!r}; ask for int8"
        )
    if quantize is not None and not onnx:
        raise InputError(
            "int8 is made of an export's ONNX files, but they are not asked for; ask for ONNX too"
        )
    if onnx:
        check_onnx()
    if lora is not None:
        if not lora.is_file():
            raise InputError(
                f"a LoRA must be a safetensors file, but {lora} is no file; check the path"
            )
        check_peft()
        read_lora(lora, load_space(study).backbone)
    if push is not None:
        check_repository(push)


def add_thumbnails(study: StudyFolder, folders: Sequence[Path]) -> None:
    """Put small pictures of what each export paints into its folder `thumbnails`.

    What a picture costs goes into `costs.json` beside them. Neither is a reason to fail: where the
    study's images are gone, it is said and left.
    """
    from sdsearch.export import list_own_files, record_files

    lacking = [
        folder
        for folder in folders
        if not (folder / "thumbnails").is_dir() or not (folder / "costs.json").is_file()
    ]
    if not lacking:
        return
    names = tuple(folder.name for folder in lacking)
    try:
        run_harness(ThumbnailsRequest(study=study.root, designs=names))
    except HarnessError as error:
        say(f"the exports are whole, but have no thumbnails, or no measured costs: {error}")
    for folder in lacking:
        costs = [file for file in [folder / "costs.json"] if file.is_file()]
        record_files(folder, [*list_own_files(folder / "thumbnails"), *costs])


def _check_single_files(study: StudyFolder, designs: Sequence[Design]) -> None:
    """Refuse before anything is trained what the original layout cannot say exactly."""
    from sdsearch.weights import check_packable

    backbone = load_space(study).backbone
    for design in designs:
        if reason := why_not_loaded(design.architecture, backbone, "single-file"):
            raise InputError(
                f"{design.name} must be exact in the original layout to be a single file, but "
                f"{reason}; export its folder alone, or build with [build] loads_in"
            )
    check_packable(open_pipeline(find_teacher(study)))


def add_single_file(folder: Path, precision: Precision = "float16") -> Path:
    """Put an export as one file in the original layout beside it; an undamaged one stays.

    Raises:
        InputError: the original layout has no names for a part of it.
        WorkError: the file does not hold exactly what the export does.
    """
    from sdsearch.export import at_export, find_changed, read_inventory, record_files
    from sdsearch.weights import pack_pipeline, packed_precision

    file = folder / f"{folder.name}.safetensors"
    with at_export(folder):
        is_whole = file.name in read_inventory(folder) and file.name not in find_changed(folder)
        if is_whole and packed_precision(file) == precision:
            return file
        partial = folder / f".{file.name}-{uuid.uuid4().hex[:8]}.tmp"
        try:
            with working(f"single file of {folder.name}"):
                pack_pipeline(open_pipeline(str(folder)), partial, half=precision == "float16")
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
        record_files(folder, [file])
    say(f"{file}: {file.stat().st_size / 1e6:.0f} MB, {precision}, in the original layout")
    return file


def add_onnx(folder: Path) -> None:
    """Put checked ONNX files beside an export; one that has them, undamaged, keeps them."""
    from sdsearch.export import (
        at_export,
        find_changed,
        list_own_files,
        read_inventory,
        record_files,
    )
    from sdsearch.runtimes import export_onnx

    with at_export(folder):
        changed = [name for name in find_changed(folder) if name.startswith("onnx/")]
        if "onnx/checked.json" in read_inventory(folder) and not changed:
            return
        with working(f"ONNX of {folder.name}"):
            found = export_onnx(folder)
            record_files(folder, list_own_files(folder / "onnx"))
    differences = ", ".join(f"{name} {value:.1g}" for name, value in found.items())
    say(f"{folder / 'onnx'}: largest differences to torch: {differences}")


def add_int8(folder: Path, study: StudyFolder) -> None:
    """Put an int8 UNet beside an export's ONNX files, and measure all runtimes of the export.

    What was measured is in its `runtimes.json` and its card. An export that has both, undamaged,
    keeps them.

    Raises:
        HarnessError: the harness failed, and has said why.
    """
    from sdsearch.export import (
        at_export,
        find_changed,
        list_own_files,
        read_inventory,
        record_files,
        renew_card,
    )

    ours = ("runtimes.json", "onnx-int8/")
    with at_export(folder):
        changed = [name for name in find_changed(folder) if name.startswith(ours)]
        if "runtimes.json" in read_inventory(folder) and not changed:
            return
        run_harness(RuntimesRequest(study=study.root, pipeline=folder))
        record_files(folder, [*list_own_files(folder / "onnx-int8"), folder / "runtimes.json"])
        renew_card(find_design(study, folder.name), study, name_teacher(study))
    table = read_runtimes(folder / "runtimes.json")
    for line in describe_runtimes(table) if table else ():
        say(f"{folder.name}: {line}")


def add_lora(folder: Path, lora: Path, study: StudyFolder) -> Path:
    """Put what is left of a teacher's LoRA beside an export, in its folder `lora`.

    Raises:
        InputError: it is none of this teacher, or nothing of it is left; see `write_lora`.
        WorkError: stock diffusers makes something else of it.
    """
    from sdsearch.adapters import write_lora
    from sdsearch.export import at_export, record_files
    from sdsearch.weights import read_channels

    with at_export(folder), working(f"LoRA for {folder.name}"):
        design = read_json(folder / "design.json")
        arch = Architecture.model_validate(design["architecture"])
        kept = read_channels(read_json(folder / "provenance.json").get("inheritance", {}))
        file = write_lora(lora, arch, load_space(study).backbone, folder / "lora", kept)
        record_files(folder, [file, file.with_suffix(".json")])
    listing = read_json(file.with_suffix(".json"))
    left, gone = len(listing["kept"]), len(listing["dropped"])
    why = f"; {file.with_suffix('.json').name} says why the others go" if gone else ""
    say(f"{file}: {left} of {left + gone} modules are left{why}")
    return file


def push_export(folder: Path, repository: str, *, confirmed: bool) -> None:
    """Say what a push would upload; upload it where that is confirmed."""
    from sdsearch.export import plan_push, push

    plan = plan_push(folder, repository)
    say(
        f"{folder} to {repository}, private: {len(plan.files)} files, {plan.size / 1e6:.1f} MB",
        always=True,
    )
    for name in plan.files:
        say(f"  {name}", always=True)
    if confirmed:
        say(f"pushed: {push(plan)}", always=True)
    else:
        say("nothing was pushed: a push must be confirmed", always=True)
