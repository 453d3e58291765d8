"""Finding files by the names that lists, masks and captions give them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NameIndex:
    """Finds files by name: as written, else in another Unicode normal form, else in another case.

    File systems and archives change both: macOS decomposes accents, cameras write `.JPG`.
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """Take pairs of a name to be found by and the file it stands for."""
        self._files: list[dict[str, list[str]]] = [defaultdict(list) for _ in _foldings("")]
        for name, file in names:
            for files, folded in zip(self._files, _foldings(name), strict=True):
                if file not in files[folded]:
                    files[folded].append(file)

    def find(self, name: str) -> tuple[str, ...]:
        """The files that the name means; more than one where it cannot be told which."""
        for files, folded in zip(self._files, _foldings(name), strict=True):
            if folded in files:
                return tuple(files[folded])
        return ()


def _foldings(name: str) -> tuple[str, str, str]:
    composed = unicodedata.normalize("NFC", name)
    return name, composed, unicodedata.normalize("NFC", composed.casefold())
