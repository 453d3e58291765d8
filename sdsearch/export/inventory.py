"""The inventory of an export: which files were written into it, and what they held.

It decides whether an export is still whole, and what may be pushed: nothing else that lies in the
folder counts, and neither does what has changed since.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from sdsearch.files import read_json_bytes, write_atomic
from sdsearch.keys import file_sha256
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

INVENTORY = "files.json"


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or str(path) != name:
        raise ValueError(f"a file of an export must lie in its folder, but is {name!r}")
    return name


class Inventory(FrozenModel):
    """`files.json`: files of an export by their paths in it, and the SHA-256 of each."""

    schema_version: Literal[1] = Field(1, alias="schema")
    files: dict[Annotated[str, AfterValidator(_inside)], str]


def record_files(folder: Path, files: Iterable[Path]) -> None:
    """Add files in a folder to its inventory, with what they hold now.

    An export is made to be passed on: who may read its folder may read what is listed.
    """
    files = list(files)
    known = read_inventory(folder)
    added = {file.relative_to(folder).as_posix(): file_sha256(file) for file in files}
    write_atomic(folder / INVENTORY, describe_inventory({**known, **added}))
    for path in {folder / INVENTORY, *files, *(file.parent for file in files)}:
        readable = path.stat().st_mode | (0o555 if path.is_dir() else 0o444)
        if path.stat().st_mode != readable:
            path.chmod(readable)


def describe_inventory(files: dict[str, str]) -> str:
    """The text of an inventory of files and their SHA-256."""
    return Inventory(files=dict(sorted(files.items()))).model_dump_json(indent=1) + "\n"


def list_own_files(folder: Path) -> list[Path]:
    """Every file in a folder that is no link and has no dot in front, in the order of paths."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and path.name != INVENTORY and not _is_odd(path, folder)
    )


def read_inventory(folder: Path) -> dict[str, str]:
    """The files of an export and their SHA-256; empty where there is no readable inventory."""
    try:
        return Inventory.model_validate_json(read_json_bytes(folder / INVENTORY)).files
    except ValueError:
        return {}


def find_changed(folder: Path, sha256: Callable[[Path], str] = file_sha256) -> list[str]:
    """The files of an inventory that are missing, links, or hold something else than recorded.

    `sha256` hashes a file.
    """
    return [
        name
        for name, written in read_inventory(folder).items()
        if not (folder / name).is_file()
        or _is_odd(folder / name, folder)
        or sha256(folder / name) != written
    ]


def _is_odd(path: Path, folder: Path) -> bool:
    """Whether a path below a folder is, or leads through, a link or something hidden."""
    parts = [path, *path.parents]
    below = parts[: parts.index(folder)]
    return any(part.is_symlink() or part.name.startswith(".") for part in below)
