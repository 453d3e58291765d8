"""Which files of a dataset are photos, which are their masks, and which are left out and why.

Names alone decide, but for two images of one stem in a folder: the one that is black and white is
a mask.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sdsearch.errors import InputError
from sdsearch_eval.data.mask_files import is_black_and_white
from sdsearch_eval.data.photos import printable_name, raster_suffixes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

NUMBERED_MASK = re.compile(
    r"(?P<photo>.+)(?P<mark>[-_. ])mask[-_. ]?\d*(?P<copy> \(\d+\))?", re.IGNORECASE
)
"""The stem of a mask beside its photo: LaMa's `image1_mask001` of `image1`, and others like it."""
MASK_FOLDERS = ("mask", "masks")
READ_BY = dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif")
"""Suffixes of photos that Pillow needs a package for."""
CAPTION_SUFFIXES = (".txt", ".caption")
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Case:
    """One photo by its files. Its `name`, relative to the dataset with "/", seeds its noise."""

    name: str
    photo: Path
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The photos of a folder in order of their names, with their masks, and what is left out.

    `str` makes one line of it.

    Attributes:
        cases: the photos.
        left_out: the names of all other files, with the reason.
        unreadable: the names of photos that turned out to be no whole images, with the reason.
    """

    cases: tuple[Case, ...]
    left_out: Mapping[str, str]
    unreadable: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        masks = sum(case.mask is not None for case in self.cases)
        names = defaultdict(list)
        for name, why in self.left_out.items():
            names[why].append(name)
        for name in self.unreadable:
            names["unreadable"].append(name)
        count = len(self.left_out) + len(self.unreadable)
        photos = len(self.cases) - len(self.unreadable)
        said = f"{photos} photos, {masks} masks, {count} files left out"
        reasons = "; ".join(f"{_few(names)} ({why})" for why, names in names.items())
        return f"{said}: {reasons}" if reasons else said

    def without(self, unreadable: Mapping[str, str]) -> Manifest:
        """The manifest once photos were decoded and some proved unreadable."""
        return replace(self, unreadable=unreadable)


@dataclass(frozen=True, slots=True)
class MaskFolder:
    """The masks of a folder by the stems of their photos: `a.png` or `a_mask001.png` for `a.jpg`.

    Attributes:
        root: the folder.
        numbered: photo's stem -> masks in LaMa's naming.
        plain: photo's stem -> images of that stem.
    """

    root: Path
    numbered: Mapping[str, tuple[Path, ...]]
    plain: Mapping[str, tuple[Path, ...]]

    def find(self, name: str, photo: Path) -> Path | None:
        """The mask of a photo called `name`; of several numbered ones the first.

        Raises:
            InputError: several images may be the mask.
        """
        if numbered := self.numbered.get(_stem(name)):
            return numbered[0]
        others = [path for path in self.plain.get(_stem(name), ()) if path.parent != photo.parent]
        if len(others) > 1:
            names = ", ".join(printable_name(path) for path in others)
            raise InputError(f"image {name!r} must have one mask, but has {names}; keep one")
        return others[0] if others else None


def list_dataset(folder: Path, masks: Path | None = None) -> Manifest:
    """List the photos of a folder, and with `masks` the mask of each.

    Where the folder itself holds no photos, those of its sub-folders are its photos, but for a
    folder `masks` beside others. A mask in LaMa's naming is never a photo. Photos may lack a mask:
    `require_mask` refuses those that are used.

    Raises:
        InputError: there is no such folder, or it is open which mask belongs to which photo.
    """
    if not folder.is_dir():
        raise InputError(
            f"protocol.dataset must be 'scenes' or a folder of images, but "
            f"{printable_name(folder)} is no folder"
        )
    folder = folder.resolve()
    index = index_masks(masks.resolve()) if masks else None
    files, left_out = _list_files(folder, index.root if index else None)
    names = {file: printable_name(file) for file in files}
    stems = {
        file: _stem(name) for file, name in names.items() if _suffix(file) in raster_suffixes()
    }
    known, photos = set(stems.values()), []
    for file, stem in stems.items():
        numbered = NUMBERED_MASK.fullmatch(stem)
        is_named_so = numbered and (numbered["mark"] == "_" or numbered["photo"] in known)
        if numbered is None or not is_named_so:
            photos.append(file)
        elif numbered["photo"] not in known:
            left_out[names[file]] = f"named as a mask, but there is no photo {numbered['photo']!r}"
        else:
            left_out[names[file]] = "a mask that is not used"
    for file in _find_twins(folder, photos, stems):
        left_out[names[file]] = "a mask that lies beside its photo and has its name"
        photos.remove(file)
    known = {stems[file] for file in photos} | {names[file] for file in photos}
    for file, name in names.items():
        if file not in stems and not _is_caption(name, known):
            package = READ_BY.get(_suffix(file))
            why = f"HEIC: pip install {package} to read it" if package else "no image"
            left_out[name] = why
    if index is None:
        return Manifest(tuple(Case(names[file], folder / file) for file in photos), left_out)
    cases = tuple(_find_case(names[file], folder / file, index) for file in photos)
    used = _used_masks(cases)
    listed = {folder / file: name for file, name in names.items()}
    for path in (path for paths in index.plain.values() for path in paths):
        if path in used:
            left_out.pop(listed.get(path, ""), None)
        elif path not in listed:
            left_out[printable_name(path.relative_to(index.root.parent))] = (
                "a mask that is not used"
            )
    return Manifest(cases, left_out)


def _used_masks(cases: tuple[Case, ...]) -> set[Path]:
    """The masks of cases, none of which two photos share."""
    used: dict[Path, str] = {}
    for case in cases:
        if case.mask and used.setdefault(case.mask, case.name) != case.name:
            raise InputError(
                f"a mask must belong to one photo, but {used[case.mask]!r} and {case.name!r} share "
                f"{printable_name(case.mask)}; rename one of them"
            )
    return set(used)


def _find_case(name: str, photo: Path, masks: MaskFolder) -> Case:
    return Case(name, photo, masks.find(name, photo))


def index_masks(folder: Path) -> MaskFolder:
    """The masks of a folder and its sub-folders.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"protocol.masks must be a mask kind or a folder of masks, but "
            f"{printable_name(folder)} is no folder"
        )
    numbered: defaultdict[str, list[Path]] = defaultdict(list)
    plain: defaultdict[str, list[Path]] = defaultdict(list)
    for file in sorted(_walk(folder), key=_parts):
        if _suffix(file) in raster_suffixes():
            stem = _stem(printable_name(file))
            plain[stem].append(folder / file)
            if match := NUMBERED_MASK.fullmatch(stem):
                of_photo = numbered[match["photo"]]
                of_photo.append(folder / file)
                of_photo.sort(key=_is_copy)
    return MaskFolder(
        folder,
        {stem: tuple(paths) for stem, paths in numbered.items()},
        {stem: tuple(paths) for stem, paths in plain.items()},
    )


def require_mask(case: Case, folder: Path) -> Path:
    """The mask of a case.

    Raises:
        InputError: it has none.
    """
    if case.mask is None:
        stem = case.name.rsplit(".", 1)[0]
        raise InputError(
            f"image {case.name!r} has no mask: expected {printable_name(folder / stem)}.png, or "
            f"{stem}_mask001.png in LaMa's layout"
        )
    return case.mask


def _list_files(folder: Path, masks: Path | None) -> tuple[list[str], dict[str, str]]:
    """The files to judge, relative to the folder, in order; and what is left out for its place."""
    left_out: dict[str, str] = {}
    with os.scandir(folder) as entries:
        top = sorted(entries, key=lambda entry: entry.name)
    if masks is not None:
        top = [entry for entry in top if folder / entry.name != masks]
    files = [entry.name for entry in top if entry.is_file() and not entry.name.startswith(".")]
    is_nested = not any(_suffix(file) in raster_suffixes() for file in files)
    if is_nested:
        files = sorted(_walk(folder, masks, left_out=left_out), key=_parts)
    for entry in top:
        name = printable_name(entry.name)
        if entry.name.startswith("."):
            left_out[name] = "hidden"
        elif entry.is_dir():
            if not is_nested:
                left_out[f"{name}/"] = "a folder beside photos"
        elif not entry.is_file():
            left_out[name] = "no file"
    return files, left_out


def _walk(
    folder: Path,
    without: Path | None = None,
    home: str = "",
    left_out: dict[str, str] | None = None,
) -> Iterator[str]:
    """All files below a folder that are not hidden, relative to it, with "/"; none of `without`.

    With `left_out`, nor those of a folder of masks beside other folders, which is noted there.
    """
    with os.scandir(folder / home) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
    inner = [entry for entry in shown if entry.is_dir(follow_symlinks=False)]
    has_others = any(entry.name.casefold() not in MASK_FOLDERS for entry in inner)
    yield from (f"{home}{entry.name}" for entry in shown if entry.is_file())
    for entry in inner:
        place = f"{home}{entry.name}/"
        if folder / place == without:
            continue
        if left_out is not None and has_others and entry.name.casefold() in MASK_FOLDERS:
            left_out[printable_name(place)] = "a folder of masks"
        else:
            yield from _walk(folder, without, place, left_out)


def _find_twins(folder: Path, photos: list[str], stems: Mapping[str, str]) -> list[str]:
    """Which of the images that share a stem are masks: the black and white beside a photo."""
    alike = defaultdict(list)
    for file in photos:
        alike[stems[file]].append(file)
    found = []
    for files in alike.values():
        masks = [file for file in files if len(files) > 1 and is_black_and_white(folder / file)]
        found += masks if len(masks) < len(files) else []
    return found


def _is_copy(path: Path) -> bool:
    """Whether a mask is named as a file that was saved twice: `a_mask (1).png`."""
    match = NUMBERED_MASK.fullmatch(_stem(printable_name(path.name)))
    return match is not None and match["copy"] is not None


def _parts(file: str) -> list[str]:
    """What orders files: folder by folder."""
    return file.split("/")


def _is_caption(name: str, known: set[str]) -> bool:
    """Whether a file speaks of photos: metadata, or a text beside the photo of its name."""
    if name.rpartition("/")[2].casefold() in ("metadata.jsonl", "metadata.csv"):
        return True
    return _suffix(name) in CAPTION_SUFFIXES and _stem(name) in known


def _suffix(name: str) -> str:
    """The suffix of a file in lower case; "" where there is none."""
    return os.path.splitext(name)[1].lower()


def _stem(name: str) -> str:
    """A name without its suffix; file systems differ in how they store accents."""
    return unicodedata.normalize("NFC", os.path.splitext(name)[0])


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
