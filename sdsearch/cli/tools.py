"""Commands that also work without a study: look at a space, check a UNet, tabulate latency."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

import sdsearch
from sdsearch.cli.options import (
    Folder,
    Json,
    Teacher,
    locate_study,
    open_given,
    print_json,
    print_result,
    show,
    words_apart,
)
from sdsearch.errors import InputError, check_choice

if TYPE_CHECKING:
    from pydantic import BaseModel

Drawn = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The SVG to write (default: KEY.svg).")
]
Table = Annotated[Path, typer.Argument(metavar="TABLE", help="The JSON file to write or read.")]
Checked = Annotated[
    Path | None,
    typer.Argument(
        metavar="PATH",
        help="A study (the default: as for other commands), a folder of photos, a pipeline "
        "folder, or a UNet's folder or config.json.",
    ),
]
Masks = Annotated[
    str, typer.Option(metavar="KIND", help="For photos: how to draw masks, or a folder of them.")
]
Side = Annotated[
    int, typer.Option("--size", min=8, metavar="N", help="For photos: size in pixels.")
]
Sheet = Annotated[
    Path, typer.Option(metavar="FILE", help="For photos: the contact sheet to write, .png.")
]
Files = Annotated[
    bool,
    typer.Option("--files", help="For a study: check its files for damage instead."),
]
_PIPELINE = ("model_index.json", "unet")
_WEIGHTS = (".safetensors", ".bin")


def space(
    study: Folder = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--space", metavar="NAME", help="Use no study: sd14, sd14-blocks, sd14-wide or tiny."
        ),
    ] = None,
    teacher: Teacher = None,
    draw: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Draw this one: its name, number or config.json."),
    ] = None,
    out: Drawn = None,
    as_json: Json = False,
) -> None:
    """Show a search space, or draw one model of it as SVG."""
    from sdsearch.design import read_scores
    from sdsearch.files import write_atomic
    from sdsearch.report import draw_scores
    from sdsearch.space import find_member, summarize_space

    scores = None
    if name or teacher:
        backbone = sdsearch.find_backbone(teacher) if teacher else None
        found = sdsearch.search_space(name or "sd14", backbone)
    else:
        loaded = open_given(study)
        scores = read_scores(loaded.folder.scores_file)
        found = loaded.space()
    if draw is not None:
        arch = find_member(draw, found)
        file = out or Path(f"{arch.key}.svg")
        file.parent.mkdir(parents=True, exist_ok=True)
        drawing = (
            draw_scores(scores, found.backbone, arch, None)
            if scores
            else sdsearch.draw_unet(arch, found.backbone)
        )
        write_atomic(file, drawing)
        show(file)
        return
    summary = summarize_space(found)
    if as_json:
        print_json(summary.model_dump(mode="json"))
        return
    show(f"{summary.name}: {summary.size:,} architectures")
    for unit in summary.units:
        show(f"  {unit.name}: {unit.options} options")
    for loader, count in summary.loads_in.items():
        show(f"  load in {loader}: {count:,}")
    for member, costs in summary.members.items():
        show(f"  {member}: {costs.params:,} parameters, {costs.macs / 1e9:.3f} G MACs a call")


def latency(
    table: Table,
    teacher: Teacher = None,
    name: Annotated[
        str, typer.Option("--space", metavar="NAME", help="The search space.")
    ] = "sd14",
    members: Annotated[int, typer.Option(metavar="N", help="How many models to time.")] = 48,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1, mps.")] = "cpu",
    dtype: Annotated[
        str, typer.Option(metavar="NAME", help="float32, float16 or bfloat16.")
    ] = "float32",
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Images per call.")] = 1,
    cfg: Annotated[
        bool, typer.Option("--cfg", help="Time with classifier-free guidance (batch doubled).")
    ] = False,
    size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Latent size (default: the model's).")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="CPU threads.")] = 2,
    predict: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Measure nothing; predict this model from the table."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Time some models to predict the latency of all others.

    Use an idle machine. Resumes where it was stopped.
    """
    import numpy as np

    from sdsearch.api import LatencyReport, tabulate_latency
    from sdsearch.space import (
        Dtype,
        LatencyConditions,
        design_survey,
        find_member,
        read_latency_table,
    )

    check_choice("--dtype", dtype, get_args(Dtype))
    if predict is None:
        backbone = sdsearch.find_backbone(teacher or "tiny")
        side = size or backbone.sample_size
        conditions = LatencyConditions.from_options(
            {
                "device": device,
                "dtype": dtype,
                "batch": batch,
                "cfg": cfg,
                "latent": (side, side),
                "threads": threads,
            }
        )
        space = sdsearch.search_space(name, backbone)
        wanted = design_survey(space, members, conditions, np.random.default_rng(0))
        made = tabulate_latency(table, wanted)
        milliseconds = None
    else:
        made = read_latency_table(table)
        space = sdsearch.search_space(made.survey.space, made.survey.backbone)
        milliseconds = made.predict(find_member(predict, space))
    error, hardware = made.error, made.survey.hardware
    if as_json:
        report = LatencyReport(
            table=str(table),
            hardware=hardware,
            error=error,
            member=predict,
            milliseconds=milliseconds,
        )
        print_json(report.model_dump(mode="json"))
        return
    if milliseconds is not None:
        show(f"{predict}: {milliseconds:.2f} ms a UNet call")
    show(
        f"on {hardware}: error {error.mape:.1f} % +- {error.se:.1f} (cross-validated "
        f"over {error.n} members, {error.worst:.1f} % at worst)"
    )


def check(
    path: Checked = None,
    against: Teacher = None,
    masks: Masks = "mixed",
    size: Side = 512,
    sheet: Sheet = Path("contact-sheet.png"),
    files: Files = False,
    as_json: Json = False,
) -> None:
    """Check a study, photos or a UNet before you use them.

    For a study: its photos, masks, captions, model and scheduler. For a UNet: its type, size,
    compute, hidden problems and compatibility.
    """
    path = locate_study(None) if path is None else path
    if files:
        report = sdsearch.load_study(path).verify()
        _print_checked(report, as_json, bad=bool(report.problems))
        return
    if (path / "study.toml").is_file():
        loaded = sdsearch.load_study(path)
        with words_apart(as_json=as_json):
            shown = loaded.check()
        _print_sheet(shown, as_json=as_json)
        return
    if path.is_dir() and not _holds_model(path):
        from sdsearch.files import check_output
        from sdsearch.labels import Protocol
        from sdsearch.study import inspect_dataset

        check_output(sheet, (path, Path(masks)), "--sheet")
        protocol = Protocol.from_options(
            {"dataset": str(path), "masks": masks, "resolution": size},
            {"dataset": "the folder of photos", "masks": "--masks", "resolution": "--size"},
        )
        with words_apart(as_json=as_json):
            shown = inspect_dataset(protocol, sheet)
        _print_sheet(shown, as_json=as_json)
        return
    found = sdsearch.check_unet(path, against)
    _print_checked(found, as_json, bad=bool(found.problems))


def _print_sheet(sheet: Path, *, as_json: bool) -> None:
    """The words about images are printed by whoever reads them."""
    if as_json:
        from sdsearch.api import SheetResult

        print_result(SheetResult(contact_sheet=str(sheet)))


def _print_checked(report: BaseModel, as_json: bool, *, bad: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        show(report)
    if bad:
        raise typer.Exit(2)


def _holds_model(folder: Path) -> bool:
    """Whether a folder is a pipeline or a part of one; any other config.json may lie by photos."""
    from sdsearch.pipelines import read_json
    from sdsearch.unet import is_unet_config

    if any((folder / name).exists() for name in _PIPELINE):
        return True
    config = folder / "config.json"
    if not config.exists():
        return False
    try:
        said = read_json(config)
    except InputError:
        said = {}
    return is_unet_config(said) or any(file.suffix in _WEIGHTS for file in folder.iterdir())
