"""Where files lie: words that could be folders, and outputs beside what is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_no_folder(field: str, word: str, meaning: str, marker: str = "") -> None:
    """Refuse a word with a meaning of its own that names a folder here too.

    `marker` is what the folder must hold to be meant.

    Raises:
        InputError: there is such a folder in the current one; both readings are named.
    """
    if Path(word).is_dir() and Path(word, marker).exists():
        raise InputError(
            f"{field} must have one meaning, but {word!r} is {meaning}, and there is a folder "
            f"{Path.cwd() / word} too; write './{word}' for the folder, or rename the folder "
            f"for {meaning}"
        )


def check_output(out: Path, inputs: Iterable[Path], option: str) -> None:
    """Refuse to write where files are read: what is written would be one of them the next time.

    Args:
        out: the file that is to be written.
        inputs: files that are read, and folders of which every file may be.
        option: by which the user says where it goes.

    Raises:
        InputError: `out` is one of the files, or lies in one of the folders at any depth.
    """
    whole = out.resolve()
    for one in inputs:
        place = one.resolve()
        if place == whole or place in whole.parents:
            raise InputError(
                f"outputs must lie outside of what is read, but {out} would be written "
                f"{'over' if place == whole else 'into'} {one}; name another place with {option}"
            )
