"""Opening: what the files of a study hold is read once, before work on labels begins."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sdsearch.console import say
from sdsearch.errors import InputError
from sdsearch.harness import run_harness
from sdsearch.labels import former_keys, is_read_first
from sdsearch.study.folder import drop_damaged_protocols, read_study
from sdsearch.study.recipes import warn_of_resolution
from sdsearch.study.requests import AdoptRequest, InspectRequest, ResolveRequest

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.labels import Protocol
    from sdsearch.study.folder import StudyFolder


def open_study(study: StudyFolder) -> StudyFolder:
    """The study, knowing what the files and scorers that it names hold now.

    Labels are named by that content. Where a study names none, nothing is read.

    Raises:
        InputError: labels of it still have the name that they had when paths were part of it.
        HarnessError: a file cannot be read; the harness has said which.
    """
    protocols = [study.at_rung(rung).config.protocol for rung in study.rungs]
    if not any(map(is_read_first, protocols)):
        return study
    drop_damaged_protocols(study)
    run_harness(ResolveRequest(study=study.root))
    opened = replace(study, read_protocols=read_study(study.root).read_protocols)
    if former := find_former(opened):
        raise InputError(
            f"labels must be named by what their files hold, but {former} in {study.root} are "
            "named by paths, as they once were; adopt them, or they are measured again"
        )
    return opened


def adopt_labels(study: StudyFolder) -> StudyFolder:
    """Rename the study's labels of the same content; returns the study, opened.

    Raises:
        HarnessError: it failed, and has said why.
    """
    run_harness(AdoptRequest(study=study.root))
    return replace(study, read_protocols=read_study(study.root).read_protocols)


def inspect_study(study: StudyFolder) -> Path:
    """Read all that labels of a study would read, print what it is; returns the contact sheet.

    Raises:
        HarnessError: something cannot be used as it is; the harness has said what.
    """
    sheet = study.root / "check" / "contact-sheet.png"
    config = study.config
    if warning := warn_of_resolution(config):
        say(warning)
    request = InspectRequest(protocol=config.protocol, teacher=config.teacher.pipeline, out=sheet)
    run_harness(request)
    return sheet


def inspect_dataset(protocol: Protocol, out: Path) -> Path:
    """The same for the photos and masks of a protocol: of all, however many it would ask for.

    Raises:
        HarnessError: something cannot be used as it is; the harness has said what.
    """
    run_harness(InspectRequest(protocol=protocol, out=out))
    return out


def find_former(study: StudyFolder) -> int:
    """How many labels of the study's protocol and rungs are named by paths."""
    keys = {key for rung in study.rungs for key in former_keys(study.at_rung(rung).config.protocol)}
    return sum(len(study.labels.read_all(key)) for key in keys)
