"""A picture of one UNet: its blocks at their places, its skips and, where given, block scores.

It imports `design` and what is below. Start at `draw_unet`.
"""

from sdsearch.drawing.drawing import Drawing, draw_unet

__all__ = [
    "Drawing",
    "draw_unet",
]
