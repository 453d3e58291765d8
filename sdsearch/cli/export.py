"""`sdsearch export`: designs as stock diffusers pipelines, with what users put beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import sdsearch
from sdsearch.cli.options import STUDY, Folder, show
from sdsearch.errors import InputError

Lora = Annotated[
    Path | None, typer.Option(help="A LoRA of the teacher: what is left of it goes beside.")
]


def export(
    study: Folder = STUDY,
    names: Annotated[
        list[str] | None, typer.Option("--design", help="A design's name; repeat for several.")
    ] = None,
    single_file: Annotated[
        bool,
        typer.Option("--single-file", help="Also one .safetensors that ComfyUI reads."),
    ] = False,
    single_file_dtype: Annotated[
        Literal["float16", "float32"] | None,
        typer.Option(help="With --single-file: its precision (default: float16)."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also ONNX, checked in onnxruntime (extra `onnx`).")
    ] = False,
    lora: Lora = None,
    push: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Say what a push would upload.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Really push.")] = False,
) -> None:
    """Export designs (by default the best measured ones) as stock diffusers pipelines."""
    from sdsearch.stages import add_lora, add_onnx, check_additions, push_export

    loaded = sdsearch.load_study(study)
    if push is not None and len(names or ()) != 1:
        raise InputError(
            f"--push takes one design, but {len(names or ())} are named; name it with --design"
        )
    if single_file_dtype and not single_file:
        raise InputError("--single-file-dtype is the precision of --single-file; give that too")
    check_additions(loaded.folder, onnx=onnx, lora=lora, push=push)
    precision = single_file_dtype or "float16" if single_file else None
    exported = loaded.export(*names or (), single_file=precision)
    for folder in exported:
        if onnx:
            add_onnx(folder)
        if lora is not None:
            add_lora(folder, lora, loaded.folder)
        if push is not None:
            push_export(folder, push, confirmed=yes)
        show(folder)
