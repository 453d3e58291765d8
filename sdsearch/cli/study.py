"""`sdsearch init`, `plan`, `tune`, `recover`, `report`, `run`, `app`: a study as a whole."""

from __future__ import annotations

from typing import Annotated, cast, get_args

import typer

import sdsearch
from sdsearch.assets import preset_files
from sdsearch.cli.options import STUDY, Folder, Json, print_json, show
from sdsearch.errors import InputError, check_choice

Photos = Annotated[
    str | None, typer.Option(help='Folder of photos; "scenes" are those of the tiny teacher.')
]
Masks = Annotated[
    str | None, typer.Option(help='A kind that is drawn, "mixed" by default, or a folder.')
]


def init(
    study: Folder = STUDY,
    teacher: Annotated[
        str | None,
        typer.Option(help="tiny (default), a pipeline's folder, one .safetensors, or a hub id."),
    ] = None,
    images: Photos = None,
    masks: Masks = None,
    crop: Annotated[
        str | None,
        typer.Option(help='"whole" photos (default), or a padded square around the "hole".'),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help='"inpaint" (default) or "text-to-image".')
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="Text to image: one a line, or JSONL. Default: captions.")
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(help="Text to image: pictures or .npz to compare with. Default: the photos."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help=f"A benchmark: {', '.join(preset_files())}, or a .toml file."),
    ] = None,
    inpaint: Annotated[
        bool,
        typer.Option("--inpaint", help="It paints from words, and learns to inpaint first."),
    ] = False,
    space: Annotated[
        str | None, typer.Option(help="Default: sd14; tiny for the tiny teacher.")
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Params budget as a share of the teacher's."),
    ] = None,
    macs_share: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="MACs budget as a share of the teacher's."),
    ] = None,
) -> None:
    """Make a study folder with a commented study.toml for a teacher; an existing one is kept."""
    if (study / "study.toml").exists():
        done, made = "kept", sdsearch.load_study(study)
        config, budget = made.config, made.config.build.budget
        params, macs = (getattr(limit, "share", limit) for limit in (budget.params, budget.macs))
        for option, asked, field, there in (
            ("--teacher", teacher, "teacher.pipeline", config.teacher.pipeline),
            ("--images", images, "protocol.dataset", config.protocol.dataset),
            ("--masks", masks, "protocol.masks", config.protocol.masks),
            ("--crop", crop, "protocol.crop", config.protocol.crop),
            ("--task", task, "protocol.task", config.protocol.task),
            ("--prompts", prompts, "protocol.prompts", config.protocol.prompts),
            ("--references", references, "protocol.references", config.protocol.references),
            ("--preset", preset, "report.preset", config.report.preset),
            ("--inpaint", inpaint or None, "teacher.inpaint", config.teacher.inpaint),
            ("--space", space, "space.name", config.space.name),
            ("--share", share, "build.budget.params", params),
            ("--macs-share", macs_share, "build.budget.macs", macs),
        ):
            if asked is not None and asked != there:
                raise InputError(
                    f"{option} must be what {study / 'study.toml'} says, but it is {asked}, and "
                    f"{field} is {there} there; edit it there, or choose another folder"
                )
    else:
        from sdsearch.labels import Crop, Task

        if crop is not None:
            check_choice("--crop", crop, get_args(Crop))
        if task is not None:
            check_choice("--task", task, get_args(Task))
        shares = {"params": share, "macs": macs_share}
        limits = {name: {"share": said} for name, said in shares.items() if said is not None}
        made = sdsearch.create_study(
            study,
            teacher=teacher or "tiny",
            images=images,
            masks=masks,
            crop=cast("Crop | None", crop),
            task=cast("Task | None", task),
            prompts=prompts,
            references=references,
            preset=preset,
            inpaint=inpaint,
            space=space,
            budget=limits or None,
        )
        done = "wrote"
    show(f"{done} {made.path / 'study.toml'}; next: sdsearch run {study}")


def plan(study: Folder = STUDY, as_json: Json = False) -> None:
    """Say what a study will take here: memory, disk and time of every stage; and check it.

    Exit code 2 where something in it would be refused later.
    """
    from sdsearch.planning import describe_plan

    found = sdsearch.load_study(study).plan()
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show(describe_plan(found))
    if found.problems:
        raise typer.Exit(2)


def tune(
    study: Folder = STUDY,
    processes: Annotated[int, typer.Option(min=1, help="One per GPU; torchrun starts them.")] = 1,
) -> None:
    """Have a teacher that paints from words learn to inpaint; resumes from its checkpoints.

    `sdsearch run` does it first, where [teacher] says inpaint = true.
    """
    show(sdsearch.load_study(study).tune(processes=processes))


def recover(
    study: Folder = STUDY,
    design: Annotated[str, typer.Option(help="A built design's name.")] = "autobuild-1",
    processes: Annotated[int, typer.Option(min=1, help="One per GPU; torchrun starts them.")] = 1,
) -> None:
    """Recover a design by the long recipe of [export.recovery]; resumes from its checkpoints."""
    show(sdsearch.load_study(study).recover(design, processes=processes))


def report(study: Folder = STUDY) -> None:
    """Print the outcome table and write report.html, one offline file."""
    show(sdsearch.load_study(study).report())


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
