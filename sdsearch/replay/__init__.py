"""Search methods replayed on measured architectures, as if each had run.

It imports `ranker`, `design`, `report` and what is below. Start at `replay`.
"""

from sdsearch.replay.methods import METHODS
from sdsearch.replay.plot import draw_replay
from sdsearch.replay.replay import check_replay, read_pool
from sdsearch.replay.runs import ReplaySummary, describe_summary, run_replay, summarize_trials

__all__ = [
    "METHODS",
    "ReplaySummary",
    "check_replay",
    "describe_summary",
    "draw_replay",
    "read_pool",
    "run_replay",
    "summarize_trials",
]
