"""What a study found: the outcome table, drawings with scores, and one offline page.

It imports `study`, `drawing` and what is below. Start at `summarize_outcome`, then `page`.
"""

from sdsearch.report.charts import nice_ticks
from sdsearch.report.claims import Claim, claim_notes, make_claims, read_claims
from sdsearch.report.findings import draw_scores
from sdsearch.report.html import html_table
from sdsearch.report.noise import MeasuredNoise, measure_noise
from sdsearch.report.outcome import (
    Outcome,
    OutcomeRow,
    outcome_table,
    summarize_outcome,
    with_error,
)
from sdsearch.report.page import report_study, write_report
from sdsearch.report.probing import describe_probe, draw_probe

__all__ = [
    "Claim",
    "MeasuredNoise",
    "Outcome",
    "OutcomeRow",
    "claim_notes",
    "describe_probe",
    "draw_probe",
    "draw_scores",
    "html_table",
    "make_claims",
    "measure_noise",
    "nice_ticks",
    "outcome_table",
    "read_claims",
    "report_study",
    "summarize_outcome",
    "with_error",
    "write_report",
]
