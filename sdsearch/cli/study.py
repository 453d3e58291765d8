"""`sdsearch init`, `recover`, `report`, `run` and `app`: a study as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

import sdsearch
from sdsearch.cli.options import STUDY, Folder
from sdsearch.errors import InputError


def init(
    study: Folder = STUDY,
    share: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Params budget as a share of the teacher's."),
    ] = None,
) -> None:
    """Make a study folder with a commented study.toml; an existing one is kept."""
    if (study / "study.toml").exists():
        done, made = "kept", sdsearch.load_study(study)
        there = made.config.build.budget.params
        if share is not None and getattr(there, "share", None) != share:
            raise InputError(
                f"--share must be what {study / 'study.toml'} says, but it is {share}, and "
                f"build.budget.params is {there} there; edit it there, or choose another folder"
            )
    else:
        done, made = "wrote", sdsearch.create_study(study, budget=share)
    print(f"{done} {made.path / 'study.toml'}; next: sdsearch run {study}")


def recover(
    study: Folder = STUDY,
    design: Annotated[str, typer.Option(help="A built design's name.")] = "autobuild-1",
    processes: Annotated[int, typer.Option(min=1, help="One per GPU; torchrun starts them.")] = 1,
) -> None:
    """Recover a design by the long recipe of [export.recovery]; resumes from its checkpoints."""
    print(sdsearch.load_study(study).recover(design, processes=processes))


def report(study: Folder = STUDY) -> None:
    """Print the outcome table and write report.html, one offline file."""
    print(sdsearch.load_study(study).report())


def run(study: Folder = STUDY) -> None:
    """Do the whole journey; what is done and current is skipped, so that it resumes anywhere."""
    sdsearch.load_study(study).run()


def serve_app(
    study: Folder = STUDY,
    host: Annotated[str, typer.Option(help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: the first free from 7860.")] = None,
) -> None:
    """Inpaint and design in a browser: a local page of the study (extra `app`)."""
    from sdsearch.harness import run_harness
    from sdsearch.study import AppRequest

    run_harness(AppRequest(study=sdsearch.load_study(study).path, host=host, port=port))
