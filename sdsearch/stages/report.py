"""Reporting: the table on the terminal, and report.html."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.console import make_console

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.study import StudyFolder


def report_study(study: StudyFolder) -> Path:
    """Print the outcome table and write report.html."""
    from sdsearch.report import outcome_table, summarize_outcome, write_report

    result = summarize_outcome(study)
    make_console(to_stdout=True).print(outcome_table(result))
    return write_report(study, result)
