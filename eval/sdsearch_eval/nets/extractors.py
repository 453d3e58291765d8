"""Extractors by name: `efflite0`, `fid`, `inception:FILE`, `clip:FOLDER`; each with its hash.

`fid` is a promise: it takes the official Inception weights of 2015 or nothing.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sdsearch.errors import InputError
from sdsearch.keys import file_sha256
from sdsearch_eval.nets.clip import WEIGHTS, ClipFeatures
from sdsearch_eval.nets.efflite0 import WEIGHTS_SHA256, EfficientNetLite0, efflite0_weights
from sdsearch_eval.nets.features import Extractor, resize_antialiased
from sdsearch_eval.nets.inception import (
    OFFICIAL_SHA256,
    InceptionV3,
    official_weights,
    prepare_inception,
)

NAMES = "'efflite0', 'fid', 'fid:FILE', 'inception:FILE' or 'clip:FOLDER'"


def load_extractor(name: str) -> Extractor:
    """The extractor that `protocol.extractor` names, its weights checked before they are read.

    Raises:
        InputError: the name is unknown, or the weights are missing, unreadable or not those that
            the name promises.
    """
    kind, _, path = name.partition(":")
    if name == "efflite0":
        return _load_efflite0()
    if kind == "fid":
        return _load_inception(Path(path) if path else official_weights(), official=True)
    if kind == "inception" and path:
        return _load_inception(Path(path), official=False)
    if kind == "clip" and path:
        net = ClipFeatures(Path(path)).eval().requires_grad_(False)
        return Extractor(net, net.prepare, file_sha256(Path(path) / WEIGHTS))
    raise InputError(f"protocol.extractor must be {NAMES}, but got {name!r}")


def extractor_weights(name: str) -> Path | None:
    """The file of the user's own weights that `protocol.extractor` names; None if it names none.

    Raises:
        InputError: there is no such file.
    """
    kind, _, path = name.partition(":")
    if not path or kind == "fid":
        return None
    file = Path(path) / WEIGHTS if kind == "clip" else Path(path)
    if not file.is_file():
        raise InputError(f"the extractor's weights must be at {file}, but are not; put them there")
    return file


def _load_efflite0() -> Extractor:
    path = efflite0_weights()
    sha256 = file_sha256(path)
    if sha256 != WEIGHTS_SHA256:
        raise InputError(
            f"{path} must have SHA-256 {WEIGHTS_SHA256}, but has {sha256}; reinstall the package"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    return Extractor(EfficientNetLite0(state).eval(), resize_antialiased, sha256)


def _load_inception(path: Path, *, official: bool) -> Extractor:
    if not path.is_file():
        raise InputError(
            f"the Inception weights must be at {path}, but are not; nothing is downloaded: put "
            f"them there, or name their file in protocol.extractor"
        )
    sha256 = file_sha256(path)
    if official and sha256 != OFFICIAL_SHA256:
        raise InputError(
            f"'fid' means the Inception weights of 2015 (SHA-256 {OFFICIAL_SHA256}), but "
            f"{path} has {sha256}; name others 'inception:{path}', whose numbers are no FID"
        )
    net = InceptionV3()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(state, strict=True)
    except Exception as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"{path} holds no weights of this Inception v3: {first}") from error
    return Extractor(net.eval().requires_grad_(False), prepare_inception, sha256)
