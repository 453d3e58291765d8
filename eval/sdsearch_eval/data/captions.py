"""The captions of a folder of photos, from metadata files as in `datasets` and from text files.

A photo's caption may stand in `metadata.jsonl` or `metadata.csv` of its own folder or of one above
(`file_name` is relative to the folder of the file), or beside it: in `a.txt`, `a.jpg.txt` or
`a.caption` for `a.jpg`. However often it is said, it has to be the same one.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import defaultdict
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch.files import parse_json
from sdsearch_eval.data.metadata import LINE_END, clean_captions, read_metadata, read_text
from sdsearch_eval.data.names import NameIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
SIDECARS = (".txt", ".caption")
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
FIELDS = re.compile(r"[\s,;]+")
DOTA_HEAD = re.compile(r"(imagesource|gsd):", re.IGNORECASE)
BOX_NUMBERS = 4
"""Text files of detection data lie beside photos too: YOLO's, KITTI's, DOTA's."""
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Captions:
    """The caption of every photo of a folder, and what was left out and why.

    Attributes:
        by_photo: photo -> caption with single spaces; "" where the photo has none.
        files: the files that captions were read from, relative to the folder.
        columns: the columns of metadata files that hold them.
        bare: the photos without a caption.
        unmatched: names in metadata files that no photo has.
        several: the photos with more than one caption, of which the first counts.
        unread: files that look like captions but are none: other metadata, labels in text files.
    """

    by_photo: Mapping[str, str]
    files: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """A line for the manifest: how many photos have captions, from where, what is left out."""
        if not self.files:
            return "; ".join(["no captions", *_counted(self.unread, "not read as captions")])
        count = len(self.by_photo) - len(self.bare)
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        columns = f", column {' or '.join(self.columns)}" if self.columns else ""
        return "; ".join(
            [
                f"captions of {count} of {len(self.by_photo)} photos "
                f"(from {self.files[0]!r}{more}{columns})",
                *_counted(self.bare, "without a caption"),
                *_counted(self.unmatched, "listed, but no photo"),
                *_counted(self.several, "with several captions, of which the first counts"),
                *_counted(self.unread, "not read as captions"),
            ]
        )


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one place says of one photo (`None`: of no photo that is there)."""

    place: str
    name: str
    photo: str | None
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A file with what it claims; one without claims may turn out to hold no captions at all."""

    file: str
    claims: tuple[_Claim, ...] = ()
    column: str = ""
    is_read: bool = True


def read_captions(folder: Path, photos: Sequence[str]) -> Captions:
    """Read the captions of all photos of a folder, which are named relative to it, with "/".

    Rows name photos as they are called, else less tidily (`./a.jpg`, backslashes, an absolute
    path), else in another Unicode normal form, else in another case. Of several captions, in a
    list or in the lines of a text file, the first counts. Texts are UTF-8 or have a byte order
    mark.

    Raises:
        InputError: a file cannot be understood, no row of it names a photo, or a photo is given
            different captions in two places.
    """
    index = NameIndex((photo, photo) for photo in photos)
    sources = [
        source
        for home, beside in sorted(_by_home(photos).items())
        for source in _read_home(folder, home, beside, index)
    ]
    claims = [claim for source in sources for claim in source.claims]
    claimed: dict[str, list[_Claim]] = defaultdict(list)
    for claim in claims:
        if claim.photo is not None and claim.captions:
            claimed[claim.photo].append(claim)
    for photo, said in claimed.items():
        if len(said) > 1:
            _check_agreement(folder / photo, said)
    return Captions(
        by_photo=MappingProxyType(
            {photo: claimed[photo][0].captions[0] if photo in claimed else "" for photo in photos}
        ),
        files=tuple(source.file for source in sources if source.is_read),
        columns=tuple(dict.fromkeys(source.column for source in sources if source.column)),
        bare=tuple(photo for photo in photos if photo not in claimed),
        unmatched=tuple(claim.name for claim in claims if claim.photo is None),
        several=tuple(
            photo
            for photo in photos
            if any(len(set(c.captions)) > 1 for c in claimed.get(photo, ()))
        ),
        unread=tuple(source.file for source in sources if not source.is_read),
    )


def _by_home(photos: Iterable[str]) -> dict[str, list[str]]:
    """The photos in each folder that holds some, at any depth; the top folder is ""."""
    homes: dict[str, list[str]] = {}
    for photo in photos:
        home = posixpath.dirname(photo)
        homes.setdefault(home, []).append(photo)
        while home:
            home = posixpath.dirname(home)
            homes.setdefault(home, [])
    return homes


def _read_home(
    folder: Path, home: str, photos: Sequence[str], index: NameIndex
) -> Iterator[_Source]:
    """The files of one folder that hold captions, or look like it; `photos` lie in this folder."""
    try:
        with os.scandir(folder / home) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise InputError(f"{folder / home} cannot be listed: {error}") from None
    tables = [name for name in names if name.casefold() in METADATA]
    if len(tables) > 1:
        raise InputError(
            f"{folder / home} must have one metadata file, but has {' and '.join(tables)}; remove "
            "all but one"
        )
    beside = NameIndex((owner, photo) for photo in photos for owner in (_stem(photo), photo))
    for name in names:
        file = posixpath.join(home, name)
        owners = beside.find(_stem(file)) if name.casefold().endswith(SIDECARS) else ()
        if name in tables:
            yield _read_table(folder, home, name, index)
        elif owners:
            yield _read_sidecar(folder, file, owners)
        elif name.casefold().startswith("metadata.") and file not in photos:
            yield _Source(file, is_read=False)


def _read_table(folder: Path, home: str, name: str, index: NameIndex) -> _Source:
    """A metadata file; parquet is a convention of `datasets` too, but is not read here."""
    path = folder / home / name
    if path.suffix.lower() == ".parquet":
        raise InputError(f"{path} cannot be read; write it as metadata.jsonl")
    metadata = read_metadata(path)
    claims = []
    for row in metadata.rows:
        place = f"{path} line {row.line}"
        found = index.find(posixpath.join(home, row.name)) or index.find(
            _tidy(folder, home, row.name)
        )
        if len(found) > 1:
            raise InputError(
                f"{place} must name one photo, but {row.name[:80]!r} may be "
                f"{' or '.join(map(repr, found))}"
            )
        claims.append(_Claim(place, row.name, next(iter(found), None), row.captions))
    if claims and all(claim.photo is None for claim in claims):
        raise InputError(
            f"{path} must name photos relative to its own folder, but none of its {len(claims)} "
            f"rows names one that is there; the first names {claims[0].name[:80]!r}"
        )
    return _Source(posixpath.join(home, name), tuple(claims), metadata.column)


def _read_sidecar(folder: Path, file: str, owners: Sequence[str]) -> _Source:
    path = folder / file
    text = read_text(path)
    if _holds_objects(text):
        return _Source(file, is_read=False)
    captions = tuple(
        caption
        for number, line in enumerate(LINE_END.split(text), 1)
        for caption in clean_captions(path, number, [line])
    )
    if captions and all(_is_label(caption) for caption in captions):
        return _Source(file, is_read=False)
    return _Source(file, tuple(_Claim(str(path), photo, photo, captions) for photo in owners))


def _holds_objects(text: str) -> bool:
    """Whether a text is a JSON object or several, as tools for annotation write them."""
    try:
        found = parse_json(text, "it")
    except InputError:
        return False
    several = found if isinstance(found, list) else [found]
    return bool(several) and all(isinstance(one, dict) for one in several)


def _is_label(line: str) -> bool:
    """Whether a line is the number of a class, or a box or outline, its class first or last."""
    fields = [field for field in FIELDS.split(line) if field]
    numbers = sum(NUMBER.fullmatch(field) is not None for field in fields)
    is_box = numbers >= BOX_NUMBERS and 2 * numbers > len(fields)
    return is_box or len(fields) == numbers == 1 or DOTA_HEAD.match(line) is not None


def _check_agreement(photo: Path, claims: Sequence[_Claim]) -> None:
    first = claims[0]
    for other in claims[1:]:
        if other.captions[0] != first.captions[0]:
            raise InputError(
                f"{photo} must have one caption, but has {first.captions[0][:80]!r} in "
                f"{first.place} and {other.captions[0][:80]!r} in {other.place}; remove one"
            )


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _tidy(folder: Path, home: str, name: str) -> str:
    """The name of a row relative to the folder of the photos, from one relative to the file's."""
    name = name.strip().replace("\\", "/")
    if posixpath.isabs(name):
        return os.path.relpath(name, folder.absolute())
    return posixpath.normpath(posixpath.join(home, name))


def _counted(names: Sequence[str], what: str) -> list[str]:
    """What is said of some names: their number and the first of them; nothing of none."""
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{len(names)} {what}: {', '.join(f'{name[:80]!r}' for name in names[:SHOWN])}{more}"]
