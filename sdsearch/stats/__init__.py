"""Statistics that decide: orders, intervals, noise, differences, and the words they may bear.

It imports nothing of ours. Start at `differences`, then `verdicts`; docs/statistics.md says which
word stands for which test.
"""

from sdsearch.stats.differences import (
    FEWEST_SEEDS,
    Difference,
    Measured,
    crossed_difference,
    difference_of,
    paired_difference,
    unpaired_difference,
)
from sdsearch.stats.intervals import Interval, bootstrap_interval, mean_and_se
from sdsearch.stats.jackknife import BLOCKS, jackknife_error, leave_out_blocks
from sdsearch.stats.noise import Noise, fit_noise
from sdsearch.stats.ranks import (
    kendall,
    ndcg_at,
    spearman,
    spearman_gain_interval,
    spearman_interval,
    top_k_regret,
)
from sdsearch.stats.verdicts import Verdict, decide, holm

__all__ = [
    "BLOCKS",
    "FEWEST_SEEDS",
    "Difference",
    "Interval",
    "Measured",
    "Noise",
    "Verdict",
    "bootstrap_interval",
    "crossed_difference",
    "decide",
    "difference_of",
    "fit_noise",
    "holm",
    "jackknife_error",
    "kendall",
    "leave_out_blocks",
    "mean_and_se",
    "ndcg_at",
    "paired_difference",
    "spearman",
    "spearman_gain_interval",
    "spearman_interval",
    "top_k_regret",
    "unpaired_difference",
]
