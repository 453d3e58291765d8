"""What a study found: the outcome table, drawings of UNets, and one offline page.

It imports `study`, `design` and what is below. Start at `summarize_outcome`, then `page`.
"""

from sdsearch.report.charts import nice_ticks
from sdsearch.report.drawing import Drawing, draw_unet
from sdsearch.report.findings import draw_scores
from sdsearch.report.html import html_table
from sdsearch.report.outcome import (
    Outcome,
    noise_floor,
    outcome_table,
    summarize_outcome,
    with_error,
)
from sdsearch.report.page import report_study, write_report
from sdsearch.report.probing import describe_probe, draw_probe

__all__ = [
    "Drawing",
    "Outcome",
    "describe_probe",
    "draw_probe",
    "draw_scores",
    "draw_unet",
    "html_table",
    "nice_ticks",
    "noise_floor",
    "outcome_table",
    "report_study",
    "summarize_outcome",
    "with_error",
    "write_report",
]
