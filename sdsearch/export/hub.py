"""Pushing an exported pipeline to the Hugging Face hub: planned first, done when asked twice."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, WorkError
from sdsearch.export.card import address_card
from sdsearch.export.inventory import INVENTORY, describe_inventory, find_changed, read_inventory
from sdsearch.files import read_bytes
from sdsearch.pipelines import CARD

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What would be uploaded where: file names relative to the folder, and bytes in all.

    `hashes` are the SHA-256 of those of `files` that the inventory lists. `rewritten` is what goes
    up in place of what lies here: a card whose snippet names the repository, and the inventory.
    """

    folder: Path
    repository: str
    files: tuple[str, ...]
    size: int
    hashes: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, bytes] = field(default_factory=dict)


def check_repository(repository: str) -> None:
    """Refuse what is no name of a repository of the hub.

    Raises:
        InputError: it is not `owner/name`.

    >>> check_repository("somebody/small-sd")
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository, re.ASCII):
        raise InputError(f"the repository to push to must be owner/name, but is {repository!r}")


def plan_push(folder: Path, repository: str) -> PushPlan:
    """List what a push would upload: files that the export wrote. Nothing leaves this machine.

    Raises:
        InputError: the repository is no `owner/name`, the folder is no exported pipeline, or
            one of its files has changed.
    """
    check_repository(repository)
    files = read_inventory(folder)
    if "model_index.json" not in files:
        raise InputError(f"{folder} must be an exported pipeline, but has no {INVENTORY} of one")
    if changed := find_changed(folder):
        raise InputError(
            f"a push uploads what was exported, but {changed[0]} in {folder} is missing or changed "
            f"since{f', and {len(changed) - 1} more' if changed[1:] else ''}; export again"
        )
    names = (*files, INVENTORY)
    rewritten = _address(folder, files, repository)
    size = sum(len(data) for data in rewritten.values())
    size += sum((folder / name).stat().st_size for name in names if name not in rewritten)
    return PushPlan(folder, repository, names, size, files, rewritten)


def _address(folder: Path, files: dict[str, str], repository: str) -> dict[str, bytes]:
    """The card as it is on the hub, and the inventory that lists it so; nothing without a card."""
    if CARD not in files:
        return {}
    card = address_card(read_bytes(folder / CARD).decode(), repository).encode()
    listed = {**files, CARD: hashlib.sha256(card).hexdigest()}
    return {CARD: card, INVENTORY: describe_inventory(listed).encode()}


def push(plan: PushPlan) -> str:
    """Upload what was planned into a private repository, made if it is not there; its address.

    Raises:
        WorkError: the hub refuses, or cannot be reached, or a file has changed since the plan.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        added = [
            CommitOperationAdd(name, plan.rewritten.get(name, plan.folder / name))
            for name in plan.files
        ]
        for one in added:  # what is uploaded is what was hashed here
            if one.path_in_repo in plan.rewritten:
                continue
            if plan.hashes.get(one.path_in_repo, found := one.upload_info.sha256.hex()) != found:
                raise WorkError(f"{one.path_in_repo} changed after the plan was made; export again")
        hub.create_repo(plan.repository, private=True, exist_ok=True)
        done = hub.create_commit(
            plan.repository,
            added,
            commit_message=f"Add {plan.folder.name}",
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WorkError(
            f"{plan.repository} could not be pushed: {error}; log in with `hf auth login` and try "
            "again"
        ) from None
    return str(done.commit_url)
