"""`sdsearch init`: create a study, or say that there is one already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

import sdsearch
from sdsearch.assets import preset_files
from sdsearch.cli.options import STUDY, Json, print_result, show
from sdsearch.errors import InputError, check_choice

if TYPE_CHECKING:
    from sdsearch import Study

Created = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder to create.")]
Teachers = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The model to make smaller: tiny (built in, the default), a pipeline folder, a "
        ".safetensors file or a Hub id.",
    ),
]
Photos = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help='Your photos, or "scenes": drawn, for the tiny model.'),
]
Masks = Annotated[
    str | None,
    typer.Option(metavar="KIND", help='How to draw masks (default: "mixed"), or a folder of them.'),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="HOW", help='"whole" photos (the default), or a square around each "hole".'
    ),
]
Task = Annotated[
    str | None, typer.Option(metavar="TASK", help='"inpaint" (the default) or "text-to-image".')
]
Prompts = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Text to image: one prompt per line, or JSONL. Default: the photos' captions.",
    ),
]
References = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Text to image: pictures or an .npz to compare with. Default: the photos.",
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help=f"Measure as in {', '.join(preset_files())}, or as a .toml file says."
    ),
]
Inpaint = Annotated[
    bool,
    typer.Option("--inpaint", help="The model is text-to-image; teach it to inpaint first."),
]
Space = Annotated[
    str | None, typer.Option(metavar="NAME", help="Search space. Default: sd14, or tiny for tiny.")
]
Share = Annotated[
    float | None,
    typer.Option(min=0.01, max=1.0, metavar="X", help="Budget: share of the model's parameters."),
]
MacsShare = Annotated[
    float | None,
    typer.Option(min=0.01, max=1.0, metavar="X", help="Budget: share of its compute (MACs)."),
]


def init(
    study: Created = STUDY,
    teacher: Teachers = None,
    images: Photos = None,
    masks: Masks = None,
    crop: Crop = None,
    task: Task = None,
    prompts: Prompts = None,
    references: References = None,
    preset: Preset = None,
    inpaint: Inpaint = False,
    space: Space = None,
    share: Share = None,
    macs_share: MacsShare = None,
    as_json: Json = False,
) -> None:
    """Create a study: a folder with a commented study.toml.

    An existing study.toml is never changed. Edit it to change settings later.
    """
    asked = {
        "--teacher": teacher,
        "--images": images,
        "--masks": masks,
        "--crop": crop,
        "--task": task,
        "--prompts": prompts,
        "--references": references,
        "--preset": preset,
        "--inpaint": inpaint or None,
        "--space": space,
        "--share": share,
        "--macs-share": macs_share,
    }
    asked = {option: value for option, value in asked.items() if value is not None}
    file = study / "study.toml"
    if file.exists():
        _refuse_others(sdsearch.load_study(study), asked)
        _tell(study, created=False, as_json=as_json)
        return
    _check_options(crop, task)
    shares = {"params": share, "macs": macs_share}
    limits = {name: {"share": said} for name, said in shares.items() if said is not None}
    sdsearch.create_study(
        study,
        teacher=teacher or "tiny",
        images=images,
        masks=masks,
        crop=cast("Any", crop),
        task=cast("Any", task),
        prompts=prompts,
        references=references,
        preset=preset,
        inpaint=inpaint,
        space=space,
        budget=limits or None,
    )
    _tell(study, created=True, as_json=as_json)


def _tell(study: Path, *, created: bool, as_json: bool) -> None:
    if as_json:
        from sdsearch.api import InitResult

        print_result(InitResult(study=str(study), created=created))
        return
    file = study / "study.toml"
    done = f"wrote {file}" if created else f"{file} already exists and was not changed"
    show(f"{done}; next: sdsearch run {study}")


def _check_options(crop: str | None, task: str | None) -> None:
    from sdsearch.labels import Crop, Task

    if crop is not None:
        check_choice("--crop", crop, get_args(Crop))
    if task is not None:
        check_choice("--task", task, get_args(Task))


def _refuse_others(there: Study, asked: dict[str, Any]) -> None:
    """Raise `InputError` with all that is asked for otherwise than the study's file says."""
    config, budget = there.config, there.config.build.budget
    params, macs = (getattr(limit, "share", limit) for limit in (budget.params, budget.macs))
    kept = {
        "--teacher": ("teacher.pipeline", config.teacher.pipeline),
        "--images": ("protocol.dataset", config.protocol.dataset),
        "--masks": ("protocol.masks", config.protocol.masks),
        "--crop": ("protocol.crop", config.protocol.crop),
        "--task": ("protocol.task", config.protocol.task),
        "--prompts": ("protocol.prompts", config.protocol.prompts),
        "--references": ("protocol.references", config.protocol.references),
        "--preset": ("report.preset", config.report.preset),
        "--inpaint": ("teacher.inpaint", config.teacher.inpaint),
        "--space": ("space.name", config.space.name),
        "--share": ("build.budget.params", params),
        "--macs-share": ("build.budget.macs", macs),
    }
    ignored = [
        f"{option} {asked[option]} ({field} is {'not set' if found is None else found} there)"
        for option, (field, found) in kept.items()
        if option in asked and asked[option] != found
    ]
    if ignored:
        raise InputError(
            f"{there.path / 'study.toml'} already exists and was not changed; ignored: "
            f"{', '.join(ignored)}. Edit it there, or choose another folder"
        )
