"""`sdsearch plan`, `run`, `tune`, `recover`, `report`, `app`: a study as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from sdsearch.cli.options import Folder, Json, Processes, open_given, print_json, show


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


def tune(study: Folder = None, processes: Processes = 1) -> None:
    """Teach a text-to-image model to inpaint.

    Only for a study with `inpaint = true` in [teacher], where `sdsearch run` does this first.
    Resumes from its checkpoints.
    """
    show(open_given(study).tune(processes=processes))


def recover(
    study: Folder = None,
    design: Annotated[
        str, typer.Option(metavar="NAME", help="The design to fine-tune.")
    ] = "autobuild-1",
    processes: Processes = 1,
) -> None:
    """Fine-tune a design for longer than a measurement does.

    Uses the settings in [export.recovery] of study.toml. Resumes from its checkpoints.
    """
    show(open_given(study).recover(design, processes=processes))


def report(study: Folder = None) -> None:
    """Print the results and write report.html.

    The page is one file and needs no network.
    """
    show(open_given(study).report())


def run(
    study: Folder = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and exit.")
    ] = False,
) -> None:
    """Run all steps; finished ones are skipped.

    You can stop and restart at any time: finished work is kept. Before it starts, it prints which
    steps are done and which are left, with times if `sdsearch plan` has been run here.
    """
    loaded = open_given(study)
    if dry_run:
        show(loaded.outline())
    else:
        loaded.run()


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
