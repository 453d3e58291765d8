"""The original layout of Stable Diffusion, one file as ComfyUI reads it: its names, both ways.

It imports `files` and single modules, and no torch. Start at `moves`, then `unet`; `unpack` reads.
"""

from sdsearch.original.family import (
    FamilyName,
    Prediction,
    SingleFile,
    family_folder,
    parse_prediction,
    read_single_file,
)
from sdsearch.original.moves import PREFIXES, Move, Renaming
from sdsearch.original.text import name_text, read_text
from sdsearch.original.unet import UNetLayout, name_unet, read_original_layout, read_unet
from sdsearch.original.unpack import Piece, find_pieces, write_pieces
from sdsearch.original.vae import name_vae, read_vae

__all__ = [
    "PREFIXES",
    "FamilyName",
    "Move",
    "Piece",
    "Prediction",
    "Renaming",
    "SingleFile",
    "UNetLayout",
    "family_folder",
    "find_pieces",
    "name_text",
    "name_unet",
    "name_vae",
    "parse_prediction",
    "read_original_layout",
    "read_single_file",
    "read_text",
    "read_unet",
    "read_vae",
    "write_pieces",
]
