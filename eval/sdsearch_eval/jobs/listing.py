"""What a study wants measured: its sampled and its built architectures, by key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.unet.architecture import Architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sdsearch.study.folder import StudyFolder


def read_listed(study: StudyFolder) -> dict[str, Architecture]:
    """All of them."""
    return {**_read_architectures(study), **read_built(study)}


def read_built(study: StudyFolder) -> dict[str, Architecture]:
    """The built designs."""
    if not study.designs_file.is_file():
        return {}
    designs = json.loads(study.designs_file.read_text(encoding="utf-8"))["designs"]
    return {row["arch_key"]: Architecture.model_validate(row["architecture"]) for row in designs}


def choose_listed(
    listed: dict[str, Architecture], only: Sequence[str] | None, study: StudyFolder
) -> dict[str, Architecture]:
    """Those of `only`, or all; raises `InputError` for a key that is in no list."""
    if not listed:
        raise InputError(
            f"{study.root} lists no architectures to label; run: sdsearch sample {study.root}"
        )
    unknown = set(only or ()) - set(listed)
    if unknown:
        raise InputError(
            f"every --arch must be in {study.architectures_file} or designs.json, but "
            f"{', '.join(sorted(unknown))} is in neither"
        )
    return {key: arch for key, arch in listed.items() if not only or key in only}


def parse_columns(columns: Sequence[str]) -> dict[str, str]:
    """NAME=KEY arguments as a mapping; raises `InputError` for any other form."""
    named = {}
    for column in columns:
        name, separator, key = column.rpartition("=")
        if not separator or not name or not key:
            raise InputError(f"--column must be NAME=ARCHITECTURE KEY, but got {column!r}")
        named[name] = key
    return named


def _read_architectures(study: StudyFolder) -> dict[str, Architecture]:
    if not study.architectures_file.is_file():
        return {}
    lines = study.architectures_file.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines if line.strip()]
    return {row["arch_key"]: Architecture.model_validate(row["architecture"]) for row in rows}
