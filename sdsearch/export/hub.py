"""Pushing an exported pipeline to the Hugging Face hub: planned first, done when asked twice."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, WorkError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class PushPlan:
    """What would be uploaded where: file names relative to the folder, and bytes in all."""

    folder: Path
    repository: str
    files: tuple[str, ...]
    size: int


def plan_push(folder: Path, repository: str) -> PushPlan:
    """List what a push would upload; nothing leaves this machine.

    Raises:
        InputError: the repository is no `owner/name`, or the folder is no exported pipeline.
    """
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repository, re.ASCII):
        raise InputError(f"the repository to push to must be owner/name, but is {repository!r}")
    if not (folder / "model_index.json").is_file():
        raise InputError(f"{folder} must be an exported pipeline, but has no model_index.json")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = tuple(str(path.relative_to(folder)) for path in files)
    return PushPlan(folder, repository, names, sum(path.stat().st_size for path in files))


def push(plan: PushPlan) -> str:
    """Upload what was planned into a private repository, made if it is not there; its address.

    Raises:
        WorkError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    hub = HfApi()
    try:
        hub.create_repo(plan.repository, private=True, exist_ok=True)
        done = hub.upload_folder(
            folder_path=plan.folder,
            repo_id=plan.repository,
            commit_message=f"Add {plan.folder.name}",
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise WorkError(
            f"{plan.repository} could not be pushed: {error}; log in with `hf auth login` and try "
            "again"
        ) from None
    return str(done.commit_url)
