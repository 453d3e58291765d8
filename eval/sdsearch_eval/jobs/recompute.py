"""Recomputing: the values of finished labels once more from their rows, without sampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.study import read_study
from sdsearch_eval.bench import Shards, summarize_rows
from sdsearch_eval.jobs.workspace import only_run, open_bench, open_console
from sdsearch_eval.world import open_world

if TYPE_CHECKING:
    from sdsearch.study import RecomputeRequest


def recompute_labels(request: RecomputeRequest) -> None:
    """Compute the values of a study's labels again; latency and cost stay.

    A label without rows (an imported one) is left as it is and counted.
    """
    study, world = read_study(request.study), open_world(1)
    console = open_console(world)
    with only_run(study, world):
        bench = open_bench(study, console, world)
        found, done = study.labels.read_series(study.series), 0
        for label in found.values():
            shards = Shards(study.rows_dir(label.arch_key) / bench.content, len(bench.blocks))
            if not label.failure and not shards.missing():
                values = {**label.values, **summarize_rows(shards.read(), bench)}
                study.labels.write(label.model_copy(update={"values": values}))
                done += 1
    console.print(f"{done} of {len(found)} labels computed again; the others have no rows here")
