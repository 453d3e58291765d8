"""Painting with whole pipelines, side by side, and drawing the result.

It imports `sampling`, `metrics`, `data` and `models`. Start at `side_by_side`.
"""

from sdsearch_eval.pictures.comparison import (
    are_painted_whole,
    choose_rows,
    collect_gallery,
    describe_comparison,
    draw_comparison,
    say_column,
)
from sdsearch_eval.pictures.costs import measure_exports
from sdsearch_eval.pictures.pipelines import Pipeline, load_pipeline
from sdsearch_eval.pictures.side_by_side import paint_side_by_side
from sdsearch_eval.pictures.thumbnails import draw_thumbnails

__all__ = [
    "Pipeline",
    "are_painted_whole",
    "choose_rows",
    "collect_gallery",
    "describe_comparison",
    "draw_comparison",
    "draw_thumbnails",
    "load_pipeline",
    "measure_exports",
    "paint_side_by_side",
    "say_column",
]
