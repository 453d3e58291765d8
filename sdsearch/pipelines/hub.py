"""Pipelines on the hub: their files in the hub's cache, downloaded where they are not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.pipelines.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def fetch_file(repository: str, name: str) -> Path:
    """A file of a repository: that in the hub's cache, else downloaded into it.

    Raises:
        InputError: it is not in the cache and cannot be downloaded.
    """
    from huggingface_hub import hf_hub_download

    if (cached := _cached_file(repository, name)) is not None:
        return cached
    try:
        return Path(hf_hub_download(repository, name))
    except Exception as error:  # noqa: BLE001 (the client raises errors of its transport too)
        raise _not_had(repository, error) from None


def cached_folder(repository: str, index: str) -> Path | None:
    """The folder of a repository's snapshot in the hub's cache, if `index` is in it."""
    file = _cached_file(repository, index)
    return file.parent if file else None


def _cached_file(repository: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(repository, name)
    except ValueError as error:
        raise _not_had(repository, error) from None
    return Path(found) if isinstance(found, str) else None


def download_files(
    repository: str,
    index: str,
    choose: Callable[[Mapping[str, Any], list[str]], list[str]],
    lacking: str,
) -> Path:
    """Download chosen files of a repository into the hub's cache; returns the snapshot's folder.

    Args:
        repository: its hub id.
        index: the file that is read first.
        choose: from the contents of `index` and the names of all files to those that are needed.
        lacking: why what is in the cache does not do, to be said where nothing can be downloaded.

    Raises:
        InputError: they cannot be had.
    """
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download

    try:
        names = HfApi().list_repo_files(repository)
        said = Path(hf_hub_download(repository, index))
    except Exception as error:  # noqa: BLE001 (the client raises errors of its transport too)
        raise _not_had(repository, error, lacking) from None
    chosen = choose(read_json(said), names)
    try:
        return Path(snapshot_download(repository, allow_patterns=chosen))
    except Exception as error:  # noqa: BLE001 (the client raises errors of its transport too)
        raise _not_had(repository, error, lacking) from None


def _not_had(repository: str, error: Exception, lacking: str | None = None) -> InputError:
    reason = " ".join(str(error).split()) + (f"; in the cache: {lacking}" if lacking else "")
    return InputError(
        f"the pipeline {repository!r} must be on the hub or whole in its cache, but: {reason}; "
        "check the id, your network and HF_TOKEN, or give a local folder"
    )
