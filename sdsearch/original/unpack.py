"""A single file unpacked: each part's tensors under diffusers' names, byte for byte, without torch.

Nothing is computed. A matrix that is a 1x1 convolution in the original layout has the same bytes,
and queries, keys and values that are one tensor there lie one behind another.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import DTYPE_BYTES
from sdsearch.original.moves import PREFIXES, Renaming
from sdsearch.original.text import read_text
from sdsearch.original.unet import read_unet
from sdsearch.original.vae import read_vae

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from sdsearch.files import TensorEntry

_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of diffusers and where its bytes lie in a single file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    start: int
    size: int


def find_pieces(
    entries: Mapping[str, TensorEntry], part: str, most_layers: int | None = None
) -> list[Piece]:
    """The tensors of a part of a single file, by diffusers' names.

    Averages of training (`model_ema.`) are no part's.

    Args:
        entries: of the file's header.
        part: "unet", "vae" or "text_encoder".
        most_layers: of a text encoder, those that are computed.

    Raises:
        InputError: a tensor has no place in the layout.
    """
    prefix = PREFIXES[part]
    names = [name.removeprefix(prefix) for name in entries if name.startswith(prefix)]
    found: dict[str, Piece] = {}
    for move in _read_names(part, names, most_layers).moves:
        for piece in _cut(entries[prefix + move.original], move.diffusers, kernel=move.kernel):
            if found.setdefault(piece.name, piece) is not piece:
                raise InputError(
                    f"{piece.path} must hold {prefix}{piece.name} once, but does twice"
                )
    return list(found.values())


def write_pieces(file: Path, pieces: Iterable[Piece]) -> None:
    """Write a new safetensors file of pieces of others, a chunk at a time."""
    ordered = sorted(pieces, key=lambda piece: (-DTYPE_BYTES[piece.dtype], piece.name))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for piece in ordered:
        start, end = end, end + piece.size
        header[piece.name] = {
            "dtype": piece.dtype,
            "shape": list(piece.shape),
            "data_offsets": [start, end],
        }
    said = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    said += b" " * (-len(said) % 8)
    with file.open("xb") as target:
        target.write(len(said).to_bytes(8, "little") + said)
        for piece in ordered:
            with piece.path.open("rb") as source:
                source.seek(piece.start)
                left = piece.size
                while left:
                    data = source.read(min(left, _CHUNK))
                    if not data:
                        raise InputError(f"{piece.path} ends within {piece.name!r}")
                    target.write(data)
                    left -= len(data)


def _read_names(part: str, names: list[str], most_layers: int | None) -> Renaming:
    if part == "unet":
        return read_unet(names)
    return read_vae(names) if part == "vae" else read_text(names, most_layers)


def _cut(entry: TensorEntry, names: tuple[str, ...], *, kernel: bool) -> list[Piece]:
    count = len(names)
    sides = entry.shape[:2] if kernel else entry.shape
    if not sides or sides[0] % count or math.prod(sides) != math.prod(entry.shape):
        raise InputError(
            f"{entry.path} must hold {names[0]} as a matrix or one of {count} equal parts of a "
            f"tensor, but its shape there is {entry.shape}"
        )
    shape, size = (sides[0] // count, *sides[1:]), entry.size // count
    return [
        Piece(name, entry.dtype, shape, entry.path, entry.start + number * size, size)
        for number, name in enumerate(names)
    ]
