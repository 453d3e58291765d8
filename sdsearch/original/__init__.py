"""The original layout of Stable Diffusion, one file as ComfyUI reads it: its names, both ways.

It imports `files` and single modules, and no torch. Start at `moves`, then `unet`.
"""

from sdsearch.original.moves import PREFIXES, Move, Renaming
from sdsearch.original.text import name_text, read_text
from sdsearch.original.unet import UNetLayout, name_unet, read_original_layout, read_unet
from sdsearch.original.vae import name_vae, read_vae

__all__ = [
    "PREFIXES",
    "Move",
    "Renaming",
    "UNetLayout",
    "name_text",
    "name_unet",
    "name_vae",
    "read_original_layout",
    "read_text",
    "read_unet",
    "read_vae",
]
