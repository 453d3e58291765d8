"""Serving the app of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.harness import run_harness
from sdsearch.unet.teacher import resolve_teacher

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder


def serve(study: StudyFolder, host: str, port: int | None) -> None:
    """Serve the app of a study until it is stopped."""
    resolve_teacher(study.config.teacher.pipeline)
    run_harness("app", study.root, "--host", host, *(("--port", str(port)) if port else ()))
