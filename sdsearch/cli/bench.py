"""`sdsearch bench`: replay search methods on a table of measured architectures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import sdsearch
from sdsearch.cli.options import Json, Teacher, print_json, show

_TINY = Path("tiny")
_SHARES = (0.6, 0.45)


def bench(
    table: Annotated[Path, typer.Option(help='A label table, or "tiny" for its own.')] = _TINY,
    method: Annotated[
        list[str] | None,
        typer.Option(help="A built-in method or MODULE:FUNCTION; repeatable (default: all)."),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(help="Params budget as a share; repeatable (default: 0.6 and 0.45)."),
    ] = None,
    labels: Annotated[int, typer.Option(min=5, help="How many labels a method gets.")] = 68,
    resamplings: Annotated[int, typer.Option(min=1)] = 50,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    processes: Annotated[int, typer.Option(min=1, help="Side by side, one thread each.")] = 2,
    name: Annotated[str, typer.Option("--space", help="The space of the table.")] = "tiny",
    teacher: Teacher = None,
    target: Annotated[
        str, typer.Option(help="What the methods learn, higher is better.")
    ] = "-log(fd_efflite0)",
    column: Annotated[
        str, typer.Option(help="What the results are told in, lower is better.")
    ] = "fd_efflite0",
    protocol: Annotated[
        str | None, typer.Option(help="The protocol key (default: the table's commonest).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for bench.json, bench.md and bench.svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay search methods on measured architectures: what would each have found?

    Nothing is measured: every method learns from the same random labels, and the table says what
    its picks are worth. Without a budget and under each share of the unpruned net's parameters.
    """
    from sdsearch.assets import TINY_TABLE, asset_path
    from sdsearch.console import counting
    from sdsearch.files import write_atomic
    from sdsearch.labels import Target, read_label_table
    from sdsearch.replay import (
        METHODS,
        check_replay,
        describe_summary,
        draw_replay,
        read_pool,
        run_replay,
        summarize_trials,
    )

    space = sdsearch.search_space(name, sdsearch.find_backbone(teacher) if teacher else None)
    rows = read_label_table(asset_path(TINY_TABLE) if table == _TINY else table)
    pool = read_pool(rows, space, Target(target), column, protocol)
    budgets = (None, *(share or _SHARES))
    check_replay(pool, budgets, labels)
    with counting("resamplings", resamplings) as progress:
        trials = run_replay(
            pool,
            method or list(METHODS),
            budgets,
            labels,
            resamplings,
            seed,
            processes=processes,
            progress=progress,
        )
    summary = summarize_trials(trials, pool, labels, seed)
    text = describe_summary(summary)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / "bench.json", summary.model_dump_json(indent=1) + "\n")
        write_atomic(out / "bench.md", text)
        write_atomic(out / "bench.svg", draw_replay(summary))
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        show(text)
