"""Scores of pictures beside the harness's own metrics: CLIP, and scorers of installed packages.

A scorer is an entry point of the group `sdsearch.metrics`: a function of (n, H, W, 3) uint8 images
and their n captions that returns n numbers. A study names the entry point, never a file.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sdsearch.errors import InputError, suggest
from sdsearch.keys import canonical_json, file_sha256
from sdsearch.labels import label_columns
from sdsearch_eval.nets import ClipScore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from sdsearch.labels import Protocol
    from sdsearch_eval.data import Sample

GROUP = "sdsearch.metrics"
_NOT_CONTENT = ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
"""Files of an installation that say how and where it was made."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What gives every picture a number, by column."""

    scorers: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    def of(
        self, images: NDArray[np.uint8], samples: Sequence[Sample]
    ) -> dict[str, NDArray[np.float64]]:
        """(n,) numbers by column of (n, H, W, 3) images that were painted for samples.

        Raises:
            InputError: a scorer fails, or returns no n finite numbers; that is no architecture's
                fault, and no label fails for it.
        """
        captions = [sample.caption for sample in samples]
        return {name: _score(name, call, images, captions) for name, call in self.scorers.items()}


def load_scores(protocol: Protocol, device: torch.device) -> Scores:
    """The scorers that a protocol names, ready to be called.

    Raises:
        InputError: one is not there, cannot be imported, or is called like a column of labels.
    """
    found: dict[str, Callable[..., Any]] = {}
    if protocol.clip_score != "none":
        found["clip_score"] = ClipScore(Path(protocol.clip_score), device)
    for point in find_scorers(protocol):
        try:
            call = point.load()
        except Exception as error:
            raise InputError(
                f"scorer {point.name!r} ({point.value}) must be importable, but: {error!r}; mend "
                "its package, or leave it out of protocol.scorers"
            ) from error
        found[point.name] = call
    return Scores(found)


def find_scorers(protocol: Protocol) -> list[EntryPoint]:
    """The entry points that a protocol names; none is imported.

    Raises:
        InputError: there is none of a name, several packages have it, or it is a column already.
    """
    known = entry_points(group=GROUP)
    own = label_columns(protocol.model_copy(update={"scorers": ()}))
    points = []
    for name in protocol.scorers:
        fitting = [point for point in known if point.name == name]
        if not fitting:
            names = sorted(point.name for point in known)
            there = f"installed are {', '.join(names)}" if names else "none is installed"
            raise InputError(
                f"a scorer must be an entry point of group {GROUP!r} in an installed package, but "
                f"{name!r} is not one{suggest(name, names, there)}"
            )
        if len(fitting) > 1:
            raise InputError(
                f"a scorer must be in one installed package, but {name!r} is in "
                f"{' and '.join(str(point.dist and point.dist.name) for point in fitting)}"
            )
        if name in own or not name.isidentifier():
            raise InputError(
                f"a scorer must have a name of its own that can stand in a target, but {name!r} "
                "is a column of labels, or no name; rename its entry point"
            )
        points.append(fitting[0])
    return points


def hash_scorers(protocol: Protocol) -> str:
    """What the scorers of a protocol are: names, versions, and the files of their packages.

    Raises:
        InputError: as `find_scorers`.
    """
    return hashlib.sha256(
        canonical_json([_describe(point) for point in find_scorers(protocol)]).encode()
    ).hexdigest()


def _describe(point: EntryPoint) -> list[object]:
    dist = point.dist
    files = [
        (str(file), file_sha256(Path(str(file.locate()))))
        for file in (dist.files or () if dist else ())
        if file.name not in _NOT_CONTENT and file.suffix != ".pyc" and _is_there(file)
    ]
    # An editable package has none of its code among its files.
    spec = importlib.util.find_spec(point.module.partition(".")[0])
    places = [*(spec.submodule_search_locations or ())] if spec else []
    code = [file for place in places for file in sorted(Path(place).rglob("*.py"))]
    if not code and spec and spec.origin and Path(spec.origin).is_file():
        code = [Path(spec.origin)]
    held = sorted({*files, *((file.name, file_sha256(file)) for file in code)})
    return [point.name, point.value, dist.name if dist else "", dist.version if dist else "", held]


def _is_there(file: Any) -> bool:
    return Path(str(file.locate())).is_file()


def _score(
    name: str, call: Callable[..., Any], images: NDArray[np.uint8], captions: list[str]
) -> NDArray[np.float64]:
    try:
        found = np.asarray(call(images, captions), np.float64)
    except Exception as error:
        raise InputError(
            f"scorer {name!r} failed: {error!r}; mend its package, or leave it out of "
            "protocol.scorers"
        ) from error
    if found.shape != (len(images),) or not np.isfinite(found).all():
        raise InputError(
            f"scorer {name!r} must return a finite number for each of {len(images)} images, but "
            f"returned {found.shape} with {int((~np.isfinite(found)).sum())} that are not finite"
        )
    return found
