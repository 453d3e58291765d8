"""Thumbnails: what exported designs paint, drawn into their folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.study import read_study
from sdsearch_eval.jobs.workspace import open_console
from sdsearch_eval.pictures import draw_thumbnails
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import ThumbnailsRequest


def add_thumbnails(request: ThumbnailsRequest) -> None:
    """Draw small pictures of what exported designs paint."""
    world = open_world(1)
    with open_console(world).status("thumbnails"):
        draw_thumbnails(read_study(request.study), request.designs, world.device)
