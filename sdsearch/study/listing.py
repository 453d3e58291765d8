"""The listing: which architectures are in a study, and where each of them came from.

An architecture may have come in several ways, as a named member that was also drawn: it is one
entry with a set of origins. What was picked to be measured is a line each of `architectures.jsonl`;
what was built is in `designs.json`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import ValidationError, model_validator

from sdsearch.console import say
from sdsearch.design import Design, DesignFile
from sdsearch.errors import InputError, suggest
from sdsearch.files import read_bytes, read_json_bytes, read_json_lines, write_atomic
from sdsearch.keys import canonical_json, content_key
from sdsearch.model import FrozenModel
from sdsearch.unet import Architecture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sdsearch.study.folder import StudyFolder

OriginKind = Literal["member", "sample", "proposal", "design"]


class Origin(FrozenModel):
    """One way into a study.

    Attributes:
        kind: a named member, a draw by the study's strategy, a proposal for a further round of
            labels, or a built design.
        name: the member's name, the strategy's, or the design's.
    """

    kind: OriginKind
    name: str

    def __str__(self) -> str:
        return self.name


class Entry(FrozenModel):
    """An architecture of a study with all its origins."""

    arch_key: str
    architecture: Architecture
    origins: frozenset[Origin]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.architecture.key != self.arch_key:
            raise ValueError(f"arch_key {self.arch_key} is not {self.architecture.key}")
        if not self.origins:
            raise ValueError("an entry needs an origin")
        return self

    def is_from(self, *kinds: OriginKind) -> bool:
        """Whether it came in by one of these ways."""
        return any(origin.kind in kinds for origin in self.origins)

    @property
    def names(self) -> list[str]:
        """Its origins by name, in the order of `OriginKind`, then of the alphabet."""
        order = {"member": 0, "sample": 1, "proposal": 2, "design": 3}
        ordered = sorted(self.origins, key=lambda origin: (order[origin.kind], origin.name))
        return [origin.name for origin in ordered]


class _Row(Entry):
    """An entry in a file, with the seal of all entries there."""

    seal: str | None = None

    @property
    def entry(self) -> Entry:
        return Entry(arch_key=self.arch_key, architecture=self.architecture, origins=self.origins)


@dataclass(frozen=True, slots=True)
class Listing:
    """The architectures of a study in the order in which they came, each once."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[Architecture, Origin]]) -> Listing:
        """Join the origins of equal architectures."""
        found: dict[str, tuple[Architecture, set[Origin]]] = {}
        for architecture, origin in pairs:
            found.setdefault(architecture.key, (architecture, set()))[1].add(origin)
        return cls(
            tuple(
                Entry(arch_key=key, architecture=architecture, origins=frozenset(origins))
                for key, (architecture, origins) in found.items()
            )
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        ways: tuple[tuple[OriginKind, str], ...] = (
            ("member", "named members"),
            ("sample", "sampled"),
            ("proposal", "proposed"),
            ("design", "designs"),
        )
        counts = [f"{n} {said}" for kind, said in ways if (n := len(self.keys_from(kind)))]
        return f"Listing({', '.join([f'{len(self)} architectures', *counts])})"

    @property
    def architectures(self) -> dict[str, Architecture]:
        """Every architecture by its key."""
        return {entry.arch_key: entry.architecture for entry in self}

    def pairs(self) -> Iterator[tuple[Architecture, Origin]]:
        """Every architecture with each of its origins: what `of` joins."""
        for entry in self:
            for origin in sorted(entry.origins, key=str):
                yield entry.architecture, origin

    def keys_from(self, *kinds: OriginKind) -> list[str]:
        """The keys of what came in by one of these ways, in order."""
        return [entry.arch_key for entry in self if entry.is_from(*kinds)]

    def member(self, name: str) -> str | None:
        """The key of a named member, or None where the study has none of this name."""
        origin = Origin(kind="member", name=name)
        return next((entry.arch_key for entry in self if origin in entry.origins), None)


def read_listing(study: StudyFolder) -> Listing:
    """All architectures of a study: those picked to be measured, then the designs.

    Raises:
        InputError: nothing was sampled or built yet, or a file is damaged.
    """
    designs = [
        (design.architecture, Origin(kind="design", name=design.name))
        for design in read_designs(study)
    ]
    # What a probe alone has built needs no sample.
    picked = not designs or study.architectures_file.is_file()
    return Listing.of([*(read_sample(study).pairs() if picked else ()), *designs])


def read_sample(study: StudyFolder) -> Listing:
    """What was picked to be measured: `architectures.jsonl`.

    Every line has the seal of all of them, so that lines that are gone are noticed too. A file
    without seals was written before there were any, and is believed.

    Raises:
        InputError: nothing was sampled yet, or the file is damaged or cut.
    """
    file = study.architectures_file
    if not file.is_file():
        raise InputError(f"{file} is missing; run: sdsearch sample {study.root}")
    rows = []
    try:
        lines = read_json_lines(file)
    except InputError as error:
        raise InputError(f"{error}, or run: sdsearch sample {study.root}") from None
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(_Row.model_validate_json(line))
        except ValidationError as error:
            raise InputError(
                f"line {number} of {file} must be an architecture with its origins, but: "
                f"{error.errors()[0]['msg']}; run: sdsearch sample {study.root}"
            ) from None
    listing = Listing(tuple(row.entry for row in rows))
    if {row.seal for row in rows} not in ({None}, {_seal(listing)}):
        raise InputError(
            f"{file} must be as it was written, but a line of it was damaged, or is gone; run: "
            f"sdsearch sample {study.root}"
        )
    return listing


def mend_listing(study: StudyFolder) -> None:
    """Keep what can be read of a damaged sample, and put damaged designs aside; say which.

    Both are derived: sampling draws what is missing again, and building builds.
    """
    if study.architectures_file.is_file():
        try:
            read_sample(study)
        except InputError as error:
            whole = _read_whole_lines(study.architectures_file)
            say(f"{error}; {len(whole)} lines of it are kept, and what is missing is drawn again")
            if whole.entries:
                write_sample(study, whole)
            else:
                study.architectures_file.unlink()
    try:
        read_designs(study)
    except InputError as error:
        aside = study.designs_file.with_suffix(".damaged")
        study.designs_file.replace(aside)
        say(f"{error}; it is now {aside.name}")


def _read_whole_lines(file: Path) -> Listing:
    """The lines that are architectures with origins; none twice."""
    rows = []
    for line in read_bytes(file).split(b"\n"):
        with suppress(ValidationError):
            rows.append(_Row.model_validate_json(line).entry)
    return Listing.of(Listing(tuple(rows)).pairs())


def write_sample(study: StudyFolder, sample: Listing) -> None:
    """Write `architectures.jsonl`; a file that says the same already is left untouched."""
    seal = _seal(sample)
    text = "".join(canonical_json({**row, "seal": seal}) + "\n" for row in _rows(sample))
    file = study.architectures_file
    if not file.is_file() or file.read_bytes() != text.encode():
        write_atomic(file, text)


def read_designs(study: StudyFolder) -> tuple[Design, ...]:
    """The built designs; none before any are built.

    Raises:
        InputError: the file is damaged.
    """
    file = study.designs_file
    if not file.is_file():
        return ()
    data = read_json_bytes(file)
    try:
        return DesignFile.model_validate_json(data).designs
    except ValidationError as error:
        raise InputError(
            f"{file} must hold designs, but: {error.errors()[0]['msg']}; run: sdsearch build "
            f"{study.root}"
        ) from None


def find_design(study: StudyFolder, name: str) -> Design:
    """The built design of a name.

    Raises:
        InputError: there is none; the nearest name is given.
    """
    designs = {design.name: design for design in read_designs(study)}
    if name not in designs:
        there = f"the designs are {', '.join(designs)}" if designs else "build some first"
        raise InputError(f"there is no design {name!r}{suggest(name, designs, there)}")
    return designs[name]


def find_best(study: StudyFolder) -> list[Design]:
    """The designs to export: the best measured ones of any method, as many as one method builds.

    Which method is best differs from teacher to teacher, and measured designs say it. An
    architecture that several methods built counts once, by its first name. Where nothing is
    measured they are those of `autobuild`, or all where it built none.
    """
    built = read_designs(study)
    labels, target = study.labels.read_series(study.series), study.config.ranker.target
    values = {key: target.evaluate(label) for key, label in labels.items() if label.failure is None}
    once = {design.arch_key: design for design in reversed(built)}
    measured = [design for design in built if design is once[design.arch_key]]
    measured = [design for design in measured if design.arch_key in values]
    if not measured:
        return [design for design in built if design.method == "autobuild"] or list(built)
    best = sorted(measured, key=lambda design: -values[design.arch_key])
    return best[: study.config.build.top]


def _seal(sample: Listing) -> str:
    return content_key(_rows(sample))


def _rows(sample: Listing) -> list[dict[str, Any]]:
    return [{**entry.model_dump(mode="json"), "origins": _sorted(entry)} for entry in sample]


def _sorted(entry: Entry) -> list[dict[str, str]]:
    return [
        {"kind": origin.kind, "name": origin.name}
        for origin in sorted(entry.origins, key=lambda origin: (origin.kind, origin.name))
    ]
