"""Inpainting: the user's images, painted by whole pipelines side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.pictures import paint_side_by_side
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import InpaintRequest


def inpaint_images(request: InpaintRequest) -> None:
    """Inpaint images with several pipelines and write the picture and its JSON."""
    world = open_world(1)
    console = open_console(world)
    paint_side_by_side(request, world.device, console)
    console.print(f"comparison: {request.out}", soft_wrap=True)
