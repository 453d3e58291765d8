"""`sdsearch compare`: inpaintings of a study's best designs, or of any pipelines, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from sdsearch.cli.options import Folder, Json, open_given, print_result, show
from sdsearch.errors import InputError, check_choice

_OUT = Path("compare.png")
_NAMES = {
    "images": "--image",
    "masks": "--mask",
    "prompts": "--prompt",
    **{name: f"--{name}" for name in ("pipelines", "seeds", "guidance", "out")},
}
"""What the options of a request's fields are called, where they may be wrong."""
_FLAGS = ("-h", "-q", "-v")
_LISTS = ("--pipelines", "--image", "--mask", "--prompt", "--seeds")


class ManyValues(TyperCommand):
    """A command whose list options take several values at once: `--seeds 0 1 2`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each of its values, as the parser wants it."""
        return super().parse_args(ctx, repeat_options(args, _LISTS))


def repeat_options(args: list[str], names: tuple[str, ...]) -> list[str]:
    """Write `--option a b` as `--option a --option b` for the options called `names`.

    >>> repeat_options(["study", "--seeds", "0", "1", "--out", "x.png"], ("--seeds",))
    ['study', '--seeds', '0', '--seeds', '1', '--out', 'x.png']
    >>> repeat_options(["--seeds", "0", "1", "-q", "study"], ("--seeds",))
    ['--seeds', '0', '--seeds', '1', '-q', 'study']
    """
    found: list[str] = []
    option, fresh = None, False
    for arg in args:
        if arg.startswith("--") or arg in _FLAGS:
            option, fresh = (arg if arg in names else None), True
            found.append(arg)
        else:
            found += [option, arg] if option and not fresh else [arg]
            fresh = False
    return found


def compare(
    study: Folder = None,
    pipelines: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Use no study: tiny, folders or Hub ids."),
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Image files or folders.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MASK", help="FILE (white is repainted), FOLDER, box:x,y,w,h or auto:KIND."
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="One for all images, or one each.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option(metavar="N", help="One row per seed (default: 0).")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Sampling steps.")] = 20,
    guidance: Annotated[
        float | None, typer.Option(min=0, metavar="X", help="Default: 7.5, or 1 for tiny models.")
    ] = None,
    scheduler: Annotated[
        str, typer.Option(metavar="NAME", help="As in [protocol] of study.toml.")
    ] = "ddim",
    mask_convention: Annotated[
        str, typer.Option(metavar="NAME", help="As in [protocol] of study.toml.")
    ] = "diffusers",
    mask_geometry: Annotated[
        str, typer.Option(metavar="NAME", help="As in [protocol] of study.toml.")
    ] = "photo",
    crop: Annotated[
        str, typer.Option(metavar="NAME", help="As in [protocol] of study.toml.")
    ] = "whole",
    crop_padding: Annotated[
        int | None, typer.Option(min=8, metavar="N", help="As in [protocol]; needs --crop hole.")
    ] = None,
    differences: Annotated[
        bool,
        typer.Option(
            "--differences", help="Also show the amplified difference to the first pipeline."
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Picture to write, .png or .webp, with a JSON file beside it."
        ),
    ] = _OUT,
    as_json: Json = False,
) -> None:
    """Paint the same images with several models, side by side.

    By default the teacher and the best designs of a study; with --pipelines any others:

    sdsearch compare --pipelines A B --image x.png --mask box:16,16,32,32 --prompt "a red house"

    Without --image the prompts are painted as text to image.
    """
    from sdsearch.files import check_output
    from sdsearch.labels import Crop, MaskConvention, MaskGeometry, Scheduler
    from sdsearch.stages import compare_pipelines
    from sdsearch.study import InpaintRequest

    if not pipelines:
        if image or mask or prompt:
            raise InputError("--image, --mask and --prompt need --pipelines, but there are none")
        loaded = open_given(study)
        picture = loaded.compare()
        _tell(picture, loaded.folder.compare_dir / "comparison.json", as_json=as_json)
        return
    if bool(image) != bool(mask):
        raise InputError("--image and --mask need each other, but one of them is missing")
    if not image and not prompt:
        raise InputError(
            "--pipelines needs --image and --mask to inpaint, or --prompt to paint from words, but "
            "there is none of them"
        )
    check_choice("--scheduler", scheduler, get_args(Scheduler))
    check_choice("--mask-convention", mask_convention, get_args(MaskConvention))
    check_choice("--mask-geometry", mask_geometry, get_args(MaskGeometry))
    check_choice("--crop", crop, get_args(Crop))
    if crop_padding is not None and crop != "hole":
        raise InputError(f"--crop-padding needs --crop hole, but --crop is {crop}")
    request = InpaintRequest.from_options(
        {
            "pipelines": pipelines,
            "images": image or (),
            "masks": mask or (),
            "prompts": prompt or (),
            "seeds": seeds or (0,),
            "steps": steps,
            "guidance": guidance,
            "scheduler": scheduler,
            "mask_convention": mask_convention,
            "mask_geometry": mask_geometry,
            "crop": crop,
            **({} if crop_padding is None else {"crop_padding": crop_padding}),
            "differences": differences,
            "out": out,
        },
        _NAMES,
    )
    check_output(out, (*request.images, *map(Path, request.masks)), "--out")
    picture = compare_pipelines(request)
    _tell(picture, picture.with_suffix(".json"), as_json=as_json)


def _tell(picture: Path, described: Path, *, as_json: bool) -> None:
    """Print the picture's path, as JSON with what the pipelines in its description cost."""
    if not as_json:
        show(picture)
        return
    from sdsearch.api import PictureResult
    from sdsearch.labels import read_costs

    print_result(PictureResult(picture=str(picture), costs=read_costs(described)))
