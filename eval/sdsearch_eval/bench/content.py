"""The content of a protocol's files: hashes of the bytes that its labels come from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sdsearch.keys import canonical_json, file_sha256
from sdsearch.labels import Content, ResolvedProtocol
from sdsearch_eval.data import find_files, load_recovery_samples, load_samples, manifest_sha256
from sdsearch_eval.nets import extractor_weights
from sdsearch_eval.recovery import pool_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import SampleFiles


def resolve_protocol(protocol: Protocol) -> ResolvedProtocol:
    """Read what a protocol's files hold: of photos, captions and masks those that labels use.

    Raises:
        InputError: a file is missing, or the dataset has too few images.
    """
    pool = pool_size(protocol) if protocol.recovery.steps else 0
    weights = extractor_weights(protocol.extractor)
    named = protocol.fields_with_files
    content: dict[str, str | None] = {"extractor": weights and file_sha256(weights)}
    if "dataset" in named:
        evaluated, learned = find_files(protocol, pool)
        content |= {
            "photos": _hash_photos(evaluated),
            "captions": _hash([[one.name, one.caption] for one in evaluated]),
            "masks": _hash_masks(evaluated) if "masks" in named else None,
            "pool": _hash([_hash_photos(learned), [one.caption for one in learned]]),
        }
        if learned and "masks" in named:
            content["pool"] = _hash([content["pool"], _hash_masks(learned)])
    return ResolvedProtocol(protocol=protocol, content=Content.model_validate(content))


def decoded_manifest(protocol: Protocol) -> str:
    """The hash of the decoded samples, recovery's photos included, that labels once recorded."""
    samples = load_samples(protocol)
    if "dataset" in protocol.fields_with_files and protocol.recovery.steps:
        samples += load_recovery_samples(protocol, pool_size(protocol))
    return manifest_sha256(samples)


def _hash_photos(files: Sequence[SampleFiles]) -> str:
    # Names count: they draw masks and order photos. Folders do not.
    return _hash([[one.name, file_sha256(one.photo)] for one in files])


def _hash_masks(files: Sequence[SampleFiles]) -> str:
    return _hash([file_sha256(one.mask) for one in files if one.mask])


def _hash(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
