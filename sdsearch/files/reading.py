"""Text files, read as editors leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def read_text(path: Path) -> str:
    """The text of a UTF-8 file as any editor may have left it.

    A byte order mark is dropped, and every line ends in a newline alone.

    Raises:
        OSError: the file cannot be read.
        InputError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} must be text in UTF-8, but byte {error.start} is not; save it as UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without their ends; see `read_text`.

    Only newlines end a line: JSON may hold other separators, on which `str.splitlines` would cut.
    """
    text = read_text(path)
    return text.removesuffix("\n").split("\n") if text else []
