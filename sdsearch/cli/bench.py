"""`sdsearch bench`: replay search methods on a table of measured architectures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import sdsearch
from sdsearch.cli.options import Json, Teacher, print_json, show

if TYPE_CHECKING:
    from sdsearch.replay import BudgetShare, ReplaySummary, World

_File = Path | None
_SHARES, _MACS_SHARES = (0.6,), (0.7, 0.6, 0.5)
# One resampling of all methods took 29 s on one busy core: so many take four minutes on two.
_RESAMPLINGS = 16


def bench(
    world: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="fill-16 (the default), words-16 or words-16-b."),
    ] = None,
    table: Annotated[
        _File, typer.Option(metavar="FILE", help="Your own table of measurements instead.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A built-in method or MODULE:FUNCTION; repeatable (default: all)."
        ),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Budget: share of the teacher's parameters; repeatable."),
    ] = None,
    macs_share: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Budget: share of its compute (MACs); repeatable."),
    ] = None,
    latency_share: Annotated[
        list[float] | None,
        typer.Option(metavar="X", help="Budget: share of its measured latency; repeatable."),
    ] = None,
    labels: Annotated[
        int, typer.Option(min=5, metavar="N", help="Measurements each method gets.")
    ] = 32,
    resamplings: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often to repeat.")
    ] = _RESAMPLINGS,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed.")] = 0,
    processes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of parallel processes.")
    ] = 2,
    name: Annotated[
        str | None,
        typer.Option("--space", metavar="NAME", help="Search space of your table (default: tiny)."),
    ] = None,
    teacher: Teacher = None,
    probe: Annotated[
        _File, typer.Option(metavar="FILE", help="A study's probe.json for your table.")
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="EXPR", help="Quantity the methods predict (higher is better).")
    ] = "-log(fd_efflite0)",
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Metric to report (lower is better)."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(metavar="KEY", help="Default: the table's most frequent one.")
    ] = None,
    out: Annotated[
        _File, typer.Option(metavar="FOLDER", help="Write bench.json, bench.md and bench.svg here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Benchmark search methods on models already measured.

    Measures nothing: every method learns from the same random measurements, and the table shows
    what its choices are worth. Budgets by default: none, 60 % of the parameters, and 70 %, 60 %
    and 50 % of the compute.
    """
    from sdsearch.console import counting
    from sdsearch.labels import Target
    from sdsearch.replay import (
        WORLDS,
        check_replay,
        default_methods,
        read_pool,
        read_world,
        run_replay,
        summarize_trials,
    )

    own = {"--table": table, "--space": name, "--teacher": teacher, "--probe": probe}
    given = [option for option, value in own.items() if value is not None]
    if table is not None and world is None:
        measured = _read_own(table, name or "tiny", teacher, probe)
    elif given:
        raise sdsearch.InputError(
            f"{', '.join(given)} must be said of a table of your own, but the replay is of "
            f"--world {world or WORLDS[0]}; leave one or the other out"
        )
    else:
        measured = read_world(world or WORLDS[0])
    pool = read_pool(
        measured.labels,
        measured.space,
        Target(target),
        column or measured.column,
        protocol,
        measured.probe,
    )
    budgets = (None, *_read_budgets(share, macs_share, latency_share))
    check_replay(pool, budgets, labels)
    with counting("resamplings", resamplings) as progress:
        trials = run_replay(
            pool,
            method or default_methods(measured.probe),
            budgets,
            labels,
            resamplings,
            seed,
            processes=processes,
            progress=progress,
        )
    _tell(summarize_trials(trials, pool, labels, seed), out, as_json)


def _read_own(table: Path, space: str, teacher: str | None, probe: Path | None) -> World:
    """A user's own table, told in a distance unless another column is asked for."""
    from sdsearch.design import read_probe
    from sdsearch.labels import read_label_table
    from sdsearch.replay import DISTANCE, World

    known = None if probe is None else read_probe(probe)
    if probe is not None and known is None:
        raise sdsearch.InputError(
            f"--probe must name a probe.json, but there is no file {probe}; run: sdsearch probe "
            "STUDY, which writes STUDY/probe.json"
        )
    backbone = sdsearch.find_backbone(teacher) if teacher else None
    return World(
        str(table),
        sdsearch.search_space(space, backbone),
        DISTANCE,
        tuple(read_label_table(table)),
        known,
    )


def _read_budgets(
    params: list[float] | None, macs: list[float] | None, latency: list[float] | None
) -> list[BudgetShare]:
    """The budgets that are asked for; the default ones only where none is."""
    from sdsearch.replay import BudgetShare

    if not (params or macs or latency):
        params, macs = list(_SHARES), list(_MACS_SHARES)
    return [
        *(BudgetShare("params", share) for share in params or ()),
        *(BudgetShare("macs", share) for share in macs or ()),
        *(BudgetShare("latency_ms", share) for share in latency or ()),
    ]


def _tell(summary: ReplaySummary, out: Path | None, as_json: bool) -> None:
    """Print the summary, and write it with its table and picture where a folder is given."""
    from sdsearch.files import write_atomic
    from sdsearch.replay import describe_summary, draw_replay

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
