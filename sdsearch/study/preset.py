"""Presets: benchmarks as data. What a protocol says, which files to bring, what was published.

A preset is a TOML file, one that comes with sdsearch or the user's own. It fills in what a new
study does not say; from then on `study.toml` says it all, and the preset is asked for one thing
only: the published values to be shown beside measured ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from sdsearch.assets import preset_files
from sdsearch.errors import InputError, suggest
from sdsearch.files import read_toml
from sdsearch.labels import Measurement, Protocol, Target, check_target, label_columns
from sdsearch.model import FrozenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sdsearch.labels import Latency
    from sdsearch.study.config import StudyConfig

    Values = Mapping[str, Measurement | Latency | int | float]

_FIELDS = {"images": "dataset"}
"""What a protocol calls the files that a user brings, where it has another word for them."""
_COMPARED = ("crop", "crop_padding", "variations")
"""Fields that decide what is compared, whether a preset sets them or not."""
_NOT_OF_A_BENCHMARK = frozenset({"revision", "recovery", "scorers"})
"""Fields that say nothing about how a benchmark measures."""


class PublishedRow(FrozenModel):
    """What somebody measured of a model, by the columns of labels."""

    name: str
    values: dict[str, float]


class Published(FrozenModel):
    """Values that others published.

    Attributes:
        source: who, and where.
        caveat: in what their measurement differs all the same.
        rows: as they were printed.
        factors: what printed values are multiplied by to be on the scale of labels, by column.
    """

    source: str
    caveat: str
    rows: tuple[PublishedRow, ...] = Field(min_length=1)
    factors: dict[str, float] = Field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that any row has, in the order in which they come up."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.values))

    def on_scale(self, row: PublishedRow, column: str) -> float | None:
        """The value of a row on the scale of labels; None where it has none."""
        value = row.values.get(column)
        return None if value is None else value * self.factors.get(column, 1.0)


class Preset(FrozenModel):
    """A benchmark.

    Attributes:
        about: what it is, in a line.
        protocol: fields of a protocol, none of which names a file.
        target: what a search under it is for.
        bring: the files that its user has to name, and what they are.
        besides: what else has to be on this machine.
        published: what others measured by it, where anything compares.
    """

    about: str
    protocol: dict[str, Any]
    target: str
    bring: dict[Literal["images", "masks", "prompts", "references"], str]
    besides: tuple[str, ...] = ()
    published: Published | None = None

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        said = self._whole()
        odd = said.fields_with_files | self.protocol.keys() & _NOT_OF_A_BENCHMARK
        if odd:
            raise ValueError(
                f"a preset names no files of its user and no recovery, but its protocol has "
                f"{', '.join(sorted(odd))}; leave them to the study"
            )
        check_target(Target(self.target), said)
        known = label_columns(said) | {"clip_score"}
        shown = self.published.columns if self.published else ()
        if unknown := [name for name in shown if name not in known]:
            raise ValueError(
                f"published values must be of columns that labels of this protocol have, but "
                f"{unknown[0]!r} is not a column"
                + suggest(unknown[0], known, f"the columns are {', '.join(sorted(known))}")
            )
        return self

    def _whole(self) -> Protocol:
        """The protocol, with defaults for what is the study's own."""
        try:
            return Protocol.model_validate(self.protocol)
        except ValidationError as error:
            raise ValueError(_explain(error, "protocol.")) from None

    def find_lacking(self, protocol: Mapping[str, Any]) -> dict[str, str]:
        """The files to bring that the fields of a study's protocol do not name yet, in words."""
        return {
            name: what
            for name, what in self.bring.items()
            if _FIELDS.get(name, name) not in protocol
        }

    def find_departure(self, protocol: Protocol) -> str | None:
        """The first field in which a study's protocol is no longer that of the preset, in words."""
        own = self._whole()
        for name in dict.fromkeys((*self.protocol, *_COMPARED)):
            ours, theirs = (_plain(name, getattr(one, name)) for one in (protocol, own))
            if ours != theirs:
                return f"{name} is {ours!r} and not {theirs!r}"
        return None


def _plain(name: str, value: object) -> object:
    """A field's value; official weights are official wherever they lie."""
    is_official = name == "extractor" and str(value).startswith("fid:")
    return "fid" if is_official else value


def read_preset(name: str) -> Preset:
    """The preset called so: one that comes with sdsearch, or the user's own `.toml` file.

    Raises:
        InputError: there is none, or its file is no preset; the known ones, or the field, are
            named.
    """
    known = preset_files()
    file = known.get(name, Path(name).expanduser())
    if name not in known and not (file.suffix == ".toml" and file.is_file()):
        raise InputError(
            f"preset must be one of {', '.join(known)}, or a .toml file, but {name!r} is neither"
            f"{suggest(name, known)}"
        )
    try:
        return Preset.model_validate(read_toml(file))
    except ValidationError as error:
        raise InputError(f"{file} must be a preset, but {_explain(error)}") from None


def find_preset(config: StudyConfig) -> Preset | None:
    """The preset that [report] names; None where it names none, or one that is gone."""
    try:
        return None if config.report.preset is None else read_preset(config.report.preset)
    except InputError:
        return None


def _explain(error: ValidationError, above: str = "") -> str:
    """The first problem: its field, where it is one's, and what is wrong."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "[key]")
    reason = first.get("ctx", {}).get("error", first["msg"])  # an error of ours, in its own words
    return f"{above}{field}: {reason}" if field else str(reason)


def preset_settings(name: str) -> dict[str, dict[str, Any]]:
    """What a study with a preset says where nothing else is said, by section and key.

    Raises:
        InputError: as `read_preset`.
    """
    preset = read_preset(name)
    return {
        "protocol": preset.protocol,
        "ranker": {"target": preset.target},
        "report": {"preset": name if name in preset_files() else str(Path(name).resolve())},
    }


@dataclass(frozen=True, slots=True)
class Beside:
    """Measured and published values in one table; without rows where they do not compare.

    Attributes:
        columns: the columns that were published.
        rows: a name, whether it was "measured" here or "published", and a cell for each column.
        note: source and caveat, or why nothing is shown.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str

    @property
    def header(self) -> tuple[str, ...]:
        """What stands above the rows."""
        return ("model", "from", *self.columns)


def set_beside(config: StudyConfig, measured: Mapping[str, Values]) -> Beside | None:
    """Published values beside the values of labels, by name, on one scale.

    They are shown only as long as each field that the preset sets is as it sets it. None where
    the study names no preset, or nothing was published.
    """
    name, preset = config.report.preset, find_preset(config)
    if name is not None and preset is None:
        return Beside((), (), f"nothing is shown beside: [report] preset {name} cannot be read")
    if preset is None or preset.published is None:
        return None
    published = preset.published
    if departure := preset.find_departure(config.protocol):
        note = f"published values of {name} are not shown: in [protocol], {departure}"
        return Beside(published.columns, (), note)
    ours = [
        (one, "measured", *(_tell(values.get(column)) for column in published.columns))
        for one, values in measured.items()
    ]
    theirs = [
        (row.name, "published", *(_tell(published.on_scale(row, c)) for c in published.columns))
        for row in published.rows
    ]
    note = f"published by {published.source}; {published.caveat}"
    return Beside(published.columns, (*ours, *theirs), note)


def _tell(value: Measurement | Latency | float | None) -> str:
    if isinstance(value, Measurement):
        error = "" if value.se is None else f" ± {value.se:.2g}"
        return f"{value.value:.4g}{error}"
    return f"{value:.4g}" if isinstance(value, int | float) else "-"
