"""Resolving: what the files of a study's protocols hold, kept for all who read the study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.study import read_study, write_protocols
from sdsearch_eval.bench import resolve_protocol

if TYPE_CHECKING:
    from sdsearch.study import ResolveRequest, StudyFolder


def resolve_study(request: ResolveRequest) -> None:
    """Read the files of a study's own protocol and of its rungs."""
    keep_content(read_study(request.study))


def keep_content(study: StudyFolder) -> StudyFolder:
    """The study that knows what its files hold now; it is kept beside study.toml."""
    found = [resolve_protocol(study.at_rung(rung).config.protocol) for rung in study.rungs]
    write_protocols(study, found)
    return study.knowing(*found)
