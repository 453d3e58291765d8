"""A picture of a replay: for each budget, what every method's four picks are worth."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from sdsearch.replay.pool import say_budget
from sdsearch.replay.runs import digits_of
from sdsearch.report import nice_ticks

if TYPE_CHECKING:
    from sdsearch.replay.runs import MethodSummary, ReplaySummary

_LEFT, _PLOT, _RIGHT = 150.0, 480.0, 70.0
_LINE, _HEAD, _FOOT = 24.0, 34.0, 44.0
_STYLE = """
.sdp{font:13px system-ui,sans-serif;color-scheme:light dark}.sdp text{fill:#222}
.sdp-page{fill:#fff}.sdp-grid{stroke:#dadce0}.sdp-bar{stroke:#35618f;stroke-width:3}
.sdp-dot{fill:#35618f}.sdp .sdp-title{font-weight:600}.sdp .sdp-end{text-anchor:end}
.sdp .sdp-mid{text-anchor:middle;fill:#555;font-size:12px}
@media screen and (prefers-color-scheme:dark){.sdp text{fill:#e8eaed}.sdp-page{fill:#17191c}
.sdp-grid{stroke:#3b4046}.sdp-bar{stroke:#8ab4f8}.sdp-dot{fill:#8ab4f8}.sdp .sdp-mid{fill:#aaa}}
"""


def draw_replay(summary: ReplaySummary) -> str:
    """An SVG: medians of the mean of four with 95 % intervals, lower is better, best first."""
    budgets = list(dict.fromkeys(row.budget for row in summary.rows))
    low = min(row.mean.low for row in summary.rows)
    high = max(row.mean.high for row in summary.rows)
    margin = 0.03 * (high - low) or 1.0
    low, high = low - margin, high + margin
    width, parts, top = _LEFT + _PLOT + _RIGHT, [], 8.0
    for budget in budgets:
        rows = [row for row in summary.rows if row.budget == budget]
        panel = _panel(
            say_budget(budget), rows, summary.column, (low, high), top, digits_of(summary)
        )
        parts.append(panel)
        top += _HEAD + _LINE * len(rows) + _FOOT
    name = f"mean {summary.column} of four picks by method and budget, {summary.labels} labels"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {top:g}" class="sdp" '
        f'role="img" aria-label="{escape(name)}"><style>{_STYLE}</style>'
        f'<rect class="sdp-page" width="{width:g}" height="{top:g}"/>{"".join(parts)}</svg>\n'
    )


def _panel(
    title: str,
    rows: list[MethodSummary],
    column: str,
    scale: tuple[float, float],
    top: float,
    digits: int,
) -> str:
    low, high = scale
    bottom = top + _HEAD + _LINE * len(rows)

    def across(x: float) -> float:
        return round(_LEFT + (x - low) / (high - low) * _PLOT, 1)

    parts = [f'<text class="sdp-title" x="10" y="{top + 18:g}">{escape(title)}</text>']
    for tick in nice_ticks(low, high):
        x = across(tick)
        parts.append(f'<path class="sdp-grid" d="M{x:g} {top + _HEAD - 6:g}V{bottom:g}"/>')
        parts.append(f'<text class="sdp-mid" x="{x:g}" y="{bottom + 16:g}">{tick:g}</text>')
    middle = _LEFT + _PLOT / 2
    said = escape(f"mean {column} of four, lower is better")
    parts.append(f'<text class="sdp-mid" x="{middle:g}" y="{bottom + 32:g}">{said}</text>')
    for number, row in enumerate(sorted(rows, key=lambda row: row.mean.median)):
        y = top + _HEAD + _LINE * (number + 0.5)
        ends, at = (across(row.mean.low), across(row.mean.high)), across(row.mean.median)
        parts += [
            f'<text class="sdp-end" x="{_LEFT - 14:g}" y="{y + 4:g}">{escape(row.method)}</text>',
            f'<path class="sdp-bar" d="M{ends[0]:g} {y:g}H{ends[1]:g}"/>',
            f'<circle class="sdp-dot" cx="{at:g}" cy="{y:g}" r="4.5"/>',
            f'<text x="{_LEFT + _PLOT + 14:g}" y="{y + 4:g}">{row.mean.median:.{digits}f}</text>',
        ]
    return "".join(parts)
