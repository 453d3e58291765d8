"""What to inpaint with which pipelines, and how it is said on a command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sdsearch.labels.protocol import MaskConvention, Scheduler

if TYPE_CHECKING:
    import argparse


@dataclass(frozen=True, slots=True)
class Request:
    """A comparison of pipelines; `guidance` None is the first pipeline's usual one."""

    pipelines: tuple[str, ...]
    images: tuple[Path, ...]
    masks: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    guidance: float | None
    scheduler: Scheduler
    convention: MaskConvention
    differences: bool
    out: Path


def add_request(parser: argparse.ArgumentParser) -> None:
    """The options of a `Request`."""
    parser.add_argument("--pipelines", nargs="+", required=True, help="tiny, folders or hub ids")
    parser.add_argument("--image", nargs="+", type=Path, required=True, help="files or folders")
    parser.add_argument("--mask", nargs="+", required=True, help="FILE, box:x,y,w,h or auto:KIND")
    parser.add_argument(
        "--prompt", nargs="+", default=[], help="one for all, or one for each image"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, help="default: 7.5, for tiny models 1")
    parser.add_argument("--scheduler", choices=get_args(Scheduler), default="ddim")
    parser.add_argument("--mask-convention", choices=get_args(MaskConvention), default="diffusers")
    parser.add_argument("--differences", action="store_true", help="to the first pipeline")
    parser.add_argument("--out", type=Path, default=Path("compare.png"), help=".png or .webp")


def read_request(options: argparse.Namespace) -> Request:
    """The request of parsed options."""
    return Request(
        pipelines=tuple(options.pipelines),
        images=tuple(options.image),
        masks=tuple(options.mask),
        prompts=tuple(options.prompt),
        seeds=tuple(options.seeds),
        steps=options.steps,
        guidance=options.guidance,
        scheduler=options.scheduler,
        convention=options.mask_convention,
        differences=options.differences,
        out=options.out,
    )
