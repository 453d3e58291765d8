"""`sdsearch plan`, `run`, `tune`, `recover`, `report`, `app`: a study as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sdsearch.cli.options import (
    Folder,
    Json,
    Processes,
    open_given,
    print_json,
    print_result,
    show,
    words_apart,
)

if TYPE_CHECKING:
    from pathlib import Path


def plan(study: Folder = None, as_json: Json = False) -> None:
    """Estimate the memory, disk space and time a study needs here.

    Also checks the study. Exit code 2 if a later step would refuse it. Takes a minute or two.
    """
    from sdsearch.planning import describe_plan

    found = open_given(study).plan()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show(describe_plan(found))
    if found.problems:
        raise typer.Exit(2)


def tune(study: Folder = None, processes: Processes = 1, as_json: Json = False) -> None:
    """Teach a text-to-image model to inpaint.

    Only for a study with `inpaint = true` in [teacher], where `sdsearch run` does this first.
    Resumes from its checkpoints.
    """
    _show_folder(open_given(study).tune(processes=processes), as_json=as_json)


def recover(
    study: Folder = None,
    design: Annotated[
        str, typer.Option(metavar="NAME", help="The design to fine-tune.")
    ] = "autobuild-1",
    processes: Processes = 1,
    as_json: Json = False,
) -> None:
    """Fine-tune a design for longer than a measurement does.

    Uses the settings in [export.recovery] of study.toml. Resumes from its checkpoints.
    """
    _show_folder(open_given(study).recover(design, processes=processes), as_json=as_json)


def _show_folder(folder: Path, *, as_json: bool) -> None:
    if as_json:
        from sdsearch.api import FolderResult

        print_result(FolderResult(folder=str(folder)))
    else:
        show(folder)


def report(study: Folder = None, as_json: Json = False) -> None:
    """Print the results and write report.html.

    The page is one file and needs no network.
    """
    loaded = open_given(study)
    with words_apart(as_json=as_json):
        page = loaded.report()
    if not as_json:
        show(page)
        return
    from sdsearch.api import ReportResult

    outcome = loaded.outcome()
    print_result(
        ReportResult(
            page=str(page),
            column=outcome.column,
            protocol_key=outcome.protocol_key,
            rows=outcome.rows,
            claims=tuple(map(str, outcome.claims)),
        )
    )


def run(
    study: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and exit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run all steps; finished ones are skipped.

    You can stop and restart at any time: finished work is kept. Before it starts, it prints which
    steps are done and which are left, with times if `sdsearch plan` has been run here.
    """
    loaded = open_given(study)
    if not as_json:
        if dry_run:
            show(loaded.outline())
        else:
            loaded.run()
        return
    from sdsearch.api import RunResult
    from sdsearch.study import find_best

    found = RunResult(plan=loaded.outline())
    if not dry_run:
        with words_apart(as_json=True):
            page = loaded.run()
        exported = [loaded.folder.pipelines_dir / best.name for best in find_best(loaded.folder)]
        made = {"report": str(page), "pipelines": tuple(map(str, exported))}
        found = found.model_copy(update=made)
    print_result(found)


def serve_app(
    study: Folder = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to serve on.")] = (
        "127.0.0.1"
    ),
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Default: the first free port from 7860.")
    ] = None,
) -> None:
    """Open a web page on this machine to inpaint, design and export.

    Needs the extra `app`: pip install ".[app]"
    """
    from sdsearch.harness import run_harness
    from sdsearch.study import AppRequest

    run_harness(AppRequest(study=open_given(study).path, host=host, port=port))
