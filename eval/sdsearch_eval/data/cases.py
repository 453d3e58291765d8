"""The files of a protocol's dataset, of which nothing is decoded: photos, captions, masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

from sdsearch.errors import InputError
from sdsearch.files import check_no_folder
from sdsearch.labels import MaskKind
from sdsearch_eval.data.captions import read_captions
from sdsearch_eval.data.listing import list_dataset

if TYPE_CHECKING:
    from sdsearch.labels import Protocol
    from sdsearch_eval.data.captions import Captions
    from sdsearch_eval.data.listing import Manifest


def list_photos(protocol: Protocol) -> Manifest | None:
    """Which files of a protocol's dataset are what, by their names; None for scenes.

    Raises:
        InputError: a folder is not there, or several images may be the mask of one photo.
    """
    if is_scenes(protocol):
        return None
    return list_dataset(Path(protocol.dataset), mask_folder(protocol))


def read_dataset_captions(protocol: Protocol) -> Captions | None:
    """The captions of the protocol's photos, and what was left out; None for scenes.

    Raises:
        InputError: as `read_captions`.
    """
    manifest = list_photos(protocol)
    if manifest is None:
        return None
    return read_captions(Path(protocol.dataset), [case.name for case in manifest.cases])


def mask_folder(protocol: Protocol) -> Path | None:
    """The folder of mask files; None where masks are drawn."""
    if protocol.masks not in get_args(MaskKind):
        return Path(protocol.masks)
    check_no_folder("protocol.masks", protocol.masks, "a kind of masks that are drawn")
    return None


def is_scenes(protocol: Protocol) -> bool:
    """Whether samples are drawn, not read."""
    if protocol.dataset != "scenes":
        return False
    check_no_folder("protocol.dataset", "scenes", "what is drawn for the tiny teacher")
    return True


def check_counts(protocol: Protocol, found: int, pool: int, manifest: Manifest) -> None:
    """Refuse a dataset without the photos that are held out, or without any to recover on.

    Raises:
        InputError: `found` photos are too few.
    """
    n = protocol.held_out
    if found < n:
        raise InputError(
            f"the protocol asks for {n} samples, but {protocol.dataset} has {found} images; lower "
            f"protocol.samples or add images ({manifest})"
        )
    if pool and found == n:
        raise InputError(
            f"recovery must not see evaluated images, but {protocol.dataset} has none beyond the "
            f"first {n}; add images, lower protocol.samples, or set protocol.recovery.steps = 0"
        )
