"""`sdsearch label`: measure architectures here, on many machines, or on a Ray cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from sdsearch.cli_tools import Folder, Json, print_json

_STUDY = Path("study")


def label(
    study: Folder = _STUDY,
    table: Annotated[
        str | None,
        typer.Option("--import", help='Only import a label table: "tiny" or a JSONL file.'),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Of one label, one per GPU; torchrun starts them.")
    ] = 1,
    executor: Annotated[
        Literal["local", "ray"] | None,
        typer.Option(help="Default: the study's. local: here, beside workers elsewhere."),
    ] = None,
    halving: Annotated[
        bool, typer.Option("--halving", help="All cheaply, only the best as the study says.")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only what all labels share, before many workers.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Only say what is done, running, failed and left.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Remove failed labels first.")
    ] = False,
    recompute_metrics: Annotated[
        bool,
        typer.Option("--recompute-metrics", help="Values again from kept rows, without sampling."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure every sampled and built architecture that has no label yet.

    Start it on as many machines as you like with the study on a shared file system: each takes
    what is free, and what a dead one held is taken over.
    """
    from sdsearch import labelling
    from sdsearch.journey import import_table, recompute
    from sdsearch.study import load_study

    loaded = load_study(study)
    if table is not None:
        report = import_table(loaded, None if table == "tiny" else Path(table))
        print(
            f"imported {report.imported} labels, {report.skipped_existing} were there already, "
            f"refused: {report.other_protocol} of another protocol, {report.other_teacher} of "
            f"another teacher; from {report.origin}"
        )
    elif status:
        state = labelling.read_status(loaded)
        if as_json:
            print_json(state.model_dump(mode="json"))
        else:
            print("\n".join(state.describe()))
    elif recompute_metrics:
        recompute(loaded)
    elif prepare:
        labelling.prepare(loaded, processes)
    else:
        if retry_failed:
            print(f"removed {labelling.forget_failed(loaded)} failed labels")
        if halving:
            for rung in labelling.measure_by_halving(loaded, processes, executor):
                print(f"  {rung.describe()}")
        else:
            labelling.measure(loaded, processes, executor)
