"""Seeds of samples: 32 bits each, by hash, so that they depend on nothing but names.

torch's CPU generator keeps only the low 32 bits of a seed; wider ones would collide unseen. The
millions of draws of a long recovery come from numpy's generators, by their place in it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from sdsearch.errors import WorkError

if TYPE_CHECKING:
    from collections.abc import Iterable

DERIVATION = "the first 4 bytes of sha256('run|sample|stream')"
Stream = Literal["noise", "mask", "recovery", "probe"]
Draw = Literal["order", "view", "lesson", "whole"]


def derive_seed(run_seed: int, name: str, stream: Stream) -> int:
    """The 32-bit seed of one `stream` of the item called `name` in a run."""
    digest = hashlib.sha256(f"{run_seed}|{name}|{stream}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def derive_seeds(run_seed: int, names: Iterable[str], stream: Stream) -> list[int]:
    """Seeds of many items; raises `WorkError` if any two are equal."""
    seeds = [derive_seed(run_seed, name, stream) for name in names]
    if len(set(seeds)) != len(seeds):
        raise WorkError(
            f"seeds of stream {stream!r} must differ, but two of {len(seeds)} collide under run "
            f"seed {run_seed}; choose another seed"
        )
    return seeds


def open_generator(run_seed: int, draw: Draw, *place: int) -> np.random.Generator:
    """The generator of one place in a run: an epoch, a picture in an epoch, a picture's turn."""
    key = (get_args(Draw).index(draw), *place)
    return np.random.default_rng(np.random.SeedSequence(run_seed, spawn_key=key))
