"""Search methods replayed on measured architectures, as if each had run.

It imports `ranker`, `study`, `report` and what is below. Start at `pool`, then `replay`.
"""

from sdsearch.replay.methods import METHODS, default_methods
from sdsearch.replay.plot import draw_replay
from sdsearch.replay.pool import (
    BUILT,
    UNIFORM,
    BudgetShare,
    Pool,
    check_replay,
    mean_overlap,
    read_pool,
)
from sdsearch.replay.replay import fit_members, make_task, pick_best
from sdsearch.replay.runs import ReplaySummary, describe_summary, run_replay, summarize_trials
from sdsearch.replay.world import (
    DISTANCE,
    DRAW,
    WORLDS,
    World,
    draw_of_members,
    read_world,
)

__all__ = [
    "BUILT",
    "DISTANCE",
    "DRAW",
    "METHODS",
    "UNIFORM",
    "WORLDS",
    "BudgetShare",
    "Pool",
    "ReplaySummary",
    "World",
    "check_replay",
    "default_methods",
    "describe_summary",
    "draw_of_members",
    "draw_replay",
    "fit_members",
    "make_task",
    "mean_overlap",
    "pick_best",
    "read_pool",
    "read_world",
    "run_replay",
    "summarize_trials",
]
