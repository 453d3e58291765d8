"""The content of a protocol's files: hashes of the bytes that its labels come from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.keys import canonical_json, file_sha256
from sdsearch.labels import Content, ResolvedProtocol
from sdsearch_eval.data import (
    choose_cases,
    choose_prompts,
    load_recovery_samples,
    load_samples,
    manifest_sha256,
    read_dataset_captions,
)
from sdsearch_eval.metrics import hash_scorers, list_reference_files
from sdsearch_eval.nets import clip_files, extractor_weights
from sdsearch_eval.recovery import pool_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import Case


def resolve_protocol(protocol: Protocol) -> ResolvedProtocol:
    """Read what a protocol's files hold: of photos, captions and masks those that labels use.

    Raises:
        InputError: a file is missing, or the dataset has too few images.
    """
    pool = pool_size(protocol) if protocol.recovery.steps else 0
    weights, named = extractor_weights(protocol.extractor), protocol.fields_with_files
    content = {"extractor": file_sha256(weights)} if weights else {}
    if named & {"dataset", "masks"}:
        evaluated, learned = choose_cases(protocol, pool)
        captions = read_dataset_captions(protocol)
        said = captions.by_photo if captions else {}
        used = _hash_cases(evaluated, said)
        from_dataset = {"photos", "captions"} if "dataset" in named else set()
        content |= {name: used[name] for name in from_dataset | (named & {"masks"})}
        if learned:
            content["pool"] = _hash(_hash_cases(learned, said))
    content |= _read_words(protocol)
    return ResolvedProtocol(protocol=protocol, content=Content.model_validate(content))


def _read_words(protocol: Protocol) -> dict[str, str]:
    """The content of what only some protocols name: prompts, references, CLIP, scorers."""
    found = {}
    if protocol.prompts != "captions":
        found["prompts"] = _hash(choose_prompts(protocol))
    if files := list_reference_files(protocol):
        found["references"] = _hash([[file.name, file_sha256(file)] for file in files])
    if protocol.clip_score != "none":
        files = clip_files(Path(protocol.clip_score))
        found["clip_score"] = _hash([[file.name, file_sha256(file)] for file in files])
    if protocol.scorers:
        found["scorers"] = hash_scorers(protocol)
    return found


def decoded_manifest(protocol: Protocol) -> str:
    """The hash of the decoded samples, recovery's photos included, that labels once recorded."""
    samples = load_samples(protocol)
    if "dataset" in protocol.fields_with_files and protocol.recovery.steps:
        samples += load_recovery_samples(protocol, pool_size(protocol))
    return manifest_sha256(samples)


def _hash_cases(cases: Sequence[Case], captions: Mapping[str, str]) -> dict[str, str]:
    """A hash of the photos, of their captions and of their masks, each in order.

    Names count with the photos, since they draw masks and noise; folders do not.
    """
    return {
        "photos": _hash([[case.name, file_sha256(case.photo)] for case in cases]),
        "captions": _hash([captions.get(case.name, "") for case in cases]),
        "masks": _hash([file_sha256(case.mask) for case in cases if case.mask]),
    }


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
