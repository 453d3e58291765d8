"""Finding files by the names that lists, masks and captions give them."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class NameIndex:
    """Finds files by name: as written, else in another Unicode normal form, else in another case.

    File systems and archives change both: macOS decomposes accents, cameras write `.JPG`.
    """

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """Take pairs of a name to be found by and the file it stands for."""
        self._names = tuple(names)
        self._indices: list[dict[str, tuple[str, ...]]] = []  # as many as a look-up has needed

    def find(self, name: str) -> tuple[str, ...]:
        """The files that the name means; more than one where it cannot be told which."""
        for number, fold in enumerate(_FOLDS):
            if number == len(self._indices):
                self._indices.append(self._index(fold))
            if found := self._indices[number].get(fold(name)):
                return found
        return ()

    def _index(self, fold: Callable[[str], str]) -> dict[str, tuple[str, ...]]:
        files: dict[str, tuple[str, ...]] = {}
        for name, file in self._names:
            folded = fold(name)
            known = files.get(folded, ())
            if file not in known:
                files[folded] = (*known, file)
        return files


def _compose(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _fold(name: str) -> str:
    return _compose(_compose(name).casefold())


_FOLDS: tuple[Callable[[str], str], ...] = (str, _compose, _fold)
