"""What names a label's protocol: its settings, and the bytes of the files that they point to."""

from __future__ import annotations

import os
from itertools import product
from typing import TYPE_CHECKING, Any

from sdsearch.keys import content_key
from sdsearch.labels.protocol import Protocol
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXTRACTORS = ("clip:", "inception:")
_CONTENT_OF = {"dataset": "photos"}
"""What holds the content of a field's files where it is called otherwise."""


class Content(FrozenModel):
    """SHA-256 of the files that a protocol names, as far as its labels use them.

    Names count without their folders: a dataset may move, and be spelled as one likes. None stands
    for what comes with sdsearch and is known by its name: scenes, drawn masks, `efflite0`.

    Attributes:
        photos: names and bytes of the evaluated photos, in order.
        captions: their captions.
        masks: the bytes of their mask files.
        pool: photos, captions and masks that the label's own recovery learns from.
        extractor: the extractor's weights.
        prompts: the prompts of a file, in order.
        references: the photos or statistics that painted pictures are compared with.
        clip_score: the files of the CLIP that pictures are held against their captions by.
        scorers: names, versions and files of the packages that score.
    """

    photos: str | None = None
    captions: str | None = None
    masks: str | None = None
    pool: str | None = None
    extractor: str | None = None
    prompts: str | None = None
    references: str | None = None
    clip_score: str | None = None
    scorers: str | None = None


class ResolvedProtocol(FrozenModel):
    """A protocol with the content of its files: what the key of a label is made from.

    Without content a protocol that names files is unread, and its key is that of no label.

    >>> near, far = Protocol(dataset="photos"), Protocol(dataset="/mnt/photos")
    >>> content = Content(photos="5f0c", captions="77a1", pool="19be")
    >>> ResolvedProtocol(protocol=near, content=content).key == (
    ...     ResolvedProtocol(protocol=far, content=content).key
    ... )
    True
    >>> ResolvedProtocol(protocol=near).is_read
    False
    """

    protocol: Protocol
    content: Content = Content()

    @property
    def is_read(self) -> bool:
        """Whether the content of every file that the protocol names is known."""
        said = self.content.model_dump()
        wanted = [_CONTENT_OF.get(field, field) for field in self.protocol.fields_with_files]
        return all(said[name] for name in (*wanted, *_scored(self.protocol)))

    @property
    def key(self) -> str:
        """Content key (12 hex digits); no path is part of it."""
        settings = self.settings
        # Sampling begins with pure noise: strength 1, which once was a field of every label's key.
        return content_key({**settings, "strength": 1.0})

    @property
    def settings(self) -> dict[str, Any]:
        """All that may change a value, by name: the fields, and content in place of paths."""
        data = self.protocol.model_dump(mode="json")
        data["extractor"] = data["extractor"].partition(":")[0]
        named = self.protocol.fields_with_files
        data.update(dict.fromkeys(named - {"extractor"}, "files"))
        if is_read_first(self.protocol):
            read = self.content.model_dump(exclude_none=True)
            data["content"] = read if self.is_read else "unread"
        return data


def is_read_first(protocol: Protocol) -> bool:
    """Whether something that a protocol names has to be read before its labels have a name."""
    return bool(protocol.fields_with_files or _scored(protocol))


def _scored(protocol: Protocol) -> tuple[str, ...]:
    return ("scorers",) if protocol.scorers else ()


def former_keys(protocol: Protocol) -> frozenset[str]:
    """The keys that a protocol with files had while paths were part of it, as often spelled.

    Raises:
        OSError: the current folder is gone, to which relative paths belong.
    """
    named = protocol.fields_with_files
    if not named or named - {"dataset", "masks", "extractor"}:
        return frozenset()  # other fields came when paths no longer counted
    spelled = [_spellings(getattr(protocol, field)) for field in sorted(named)]
    return frozenset(
        content_key(
            {**protocol.model_dump(mode="json"), **dict(zip(sorted(named), paths, strict=True))}
            | {"strength": 1.0}
        )
        for paths in product(*spelled)
    )


def _spellings(value: str) -> list[str]:
    """The same path as people write it: with and without a last slash, `./`, and in full."""
    kind, colon, path = value.rpartition(":") if value.startswith(_EXTRACTORS) else ("", "", value)
    plain = os.path.normpath(path)
    forms = {path, plain, f"./{plain}", os.path.abspath(plain), os.path.relpath(plain)}
    return sorted(f"{kind}{colon}{form}{end}" for form in forms for end in ("", "/"))


def find_difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """The one thing in which two settings differ, in words; None if it is nothing, or more things.

    Whatever files hold is one thing: a photo that is added moves photos, captions and pool.

    >>> find_difference({"steps": 20, "dtype": "float32"}, {"steps": 8, "dtype": "float32"})
    'steps is 20 there and 8 here'
    >>> find_difference({"content": {"photos": "5f", "pool": "19"}}, {"content": {"photos": "77"}})
    'files hold something else: photos, pool'
    """
    mine, theirs = dict(_flatten(here)), dict(_flatten(there))
    names = [one for one in dict.fromkeys([*theirs, *mine]) if theirs.get(one) != mine.get(one)]
    held = [name.partition(".")[2] for name in names if name.startswith("content.")]
    if held and len(held) == len(names):
        return f"files hold something else: {', '.join(held)}"
    if len(names) != 1:
        return None
    (name,) = names
    theirs_said, mine_said = (values.get(name, "not set") for values in (theirs, mine))
    return f"{name} is {theirs_said} there and {mine_said} here"


def _flatten(data: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in data.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{above}{name}.")
        else:
            pairs.append((f"{above}{name}", value))
    return pairs
