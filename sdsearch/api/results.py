"""Results: what a command prints as JSON where nothing else that it returns says it."""

from __future__ import annotations

from sdsearch.labels import PipelineCost
from sdsearch.model import FrozenModel
from sdsearch.planning import RunPlan
from sdsearch.report import OutcomeRow


class InitResult(FrozenModel):
    """A study's folder, and whether it was created now or is there already, unchanged."""

    study: str
    created: bool


class SampleResult(FrozenModel):
    """The file of the chosen architectures, how many it holds, and how many were added to it now.

    `added` is None where the study's own strategy has chosen them all.
    """

    file: str
    architectures: int
    added: int | None = None


class FolderResult(FrozenModel):
    """The folder that holds what was trained."""

    folder: str


class ExportResult(FrozenModel):
    """The folders of the exported pipelines."""

    pipelines: tuple[str, ...]


class PictureResult(FrozenModel):
    """A picture of several models side by side, and what each of them costs."""

    picture: str
    costs: tuple[PipelineCost, ...]


class SheetResult(FrozenModel):
    """The contact sheet of images that were read and found fit."""

    contact_sheet: str


class ReportResult(FrozenModel):
    """The report's page, and the table that it begins with.

    Attributes:
        page: the file.
        column: what `rows` hold, lower values being better.
        protocol_key: what names the protocol of the measurements.
        rows: a line for each method and named model.
        claims: which differences hold, in words.
    """

    page: str
    column: str
    protocol_key: str
    rows: tuple[OutcomeRow, ...]
    claims: tuple[str, ...]


class RunResult(FrozenModel):
    """What a run had to do and what it made; without `report`, it was only planned."""

    plan: RunPlan
    report: str | None = None
    pipelines: tuple[str, ...] = ()
