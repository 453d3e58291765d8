"""`sdsearch export`: designs as stock diffusers pipelines, with what users put beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdsearch.cli.options import Folder, Json, open_given, print_result, show
from sdsearch.errors import InputError

Lora = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Also export this LoRA of the teacher, reduced to the layers that remain.",
    ),
]


def export(
    study: Folder = None,
    names: Annotated[
        list[str] | None, typer.Option("--design", metavar="NAME", help="Which design; repeatable.")
    ] = None,
    single_file: Annotated[
        bool,
        typer.Option("--single-file", help="Also write one .safetensors file for ComfyUI."),
    ] = False,
    single_file_dtype: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(help="Precision of the single file (default: float16)."),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Also write ONNX, verified against PyTorch (extra `onnx`)."),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(metavar="int8", help="With --onnx: int8 too; measures every runtime."),
    ] = None,
    lora: Lora = None,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME", help="Upload to this Hub repository (dry run unless --yes)."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Perform the upload.")] = False,
    as_json: Json = False,
) -> None:
    """Export the best designs as diffusers pipelines.

    Without --design: those with the best measurements, whichever method built them.
    """
    from sdsearch.stages import add_int8, add_lora, add_onnx, check_additions, push_export

    loaded = open_given(study)
    if push is not None and len(names or ()) != 1:
        raise InputError(
            f"--push takes one design, but {len(names or ())} are named; name it with --design"
        )
    if single_file_dtype and not single_file:
        raise InputError("--single-file-dtype is the precision of --single-file; give that too")
    check_additions(loaded.folder, onnx=onnx, quantize=quantize, lora=lora, push=push)
    precision = single_file_dtype or "float16" if single_file else None
    exported = loaded.export(*names or (), single_file=precision)
    for folder in exported:
        if onnx:
            add_onnx(folder)
        if quantize is not None:
            add_int8(folder, loaded.folder)
        if lora is not None:
            add_lora(folder, lora, loaded.folder)
        if push is not None:
            push_export(folder, push, confirmed=yes)
        if not as_json:
            show(folder)
    if as_json:
        from sdsearch.api import ExportResult

        print_result(ExportResult(pipelines=tuple(map(str, exported))))
