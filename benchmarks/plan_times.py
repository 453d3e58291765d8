"""How near a plan's times are: the tiny demo's stages, planned and then done on this machine.

python -m benchmarks.plan_times [FOLDER] prints a line for each stage: planned, measured, and their
ratio. The tiny teacher's own labels are imported, as in the demo, so that only the designs are
measured. What is planned before designs are built counts as many as may be built.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sdsearch import create_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdsearch.planning import StudyPlan


def plan_and_do(folder: Path) -> str:
    """Plan the demo, do it stage by stage, and say how long each took."""
    study = create_study(folder, budget=0.6)
    study.sample()
    study.import_labels()
    before = study.plan()
    search = watch(lambda: (study.fit(), study.score(), study.build()))
    after = study.plan()
    measured = {
        "search": search,
        "prepare, label": watch(study.label),
        "compare, export": watch(lambda: (study.compare(), study.export())),
    }
    planned = {
        "search": seconds(before, "search"),
        "prepare, label": seconds(after, "prepare") + seconds(after, "measure"),
        "compare, export": sum(seconds(after, name) for name in ("remake", "compare", "export")),
    }
    measured["all"], planned["all"] = sum(measured.values()), sum(planned.values())
    lines = [f"{before.machine.device}, {before.machine.threads} threads; the tiny model"]
    lines.append(f"{'stage':<20}{'planned s':>12}{'measured s':>12}{'ratio':>8}")
    for stage, took in measured.items():
        said = planned[stage]
        lines.append(f"{stage:<20}{said:>12.1f}{took:>12.1f}{said / took:>8.2f}")
    lines.append(f"planned before any design was known: {before.seconds or 0.0:.1f} s")
    return "\n".join(lines)


def seconds(plan: StudyPlan, stage: str) -> float:
    """What a plan says of a stage; 0 where nothing of it is left to do."""
    return sum(need.seconds or 0.0 for need in plan.needs if need.stage == stage)


def watch(work: Callable[[], object]) -> float:
    """The seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    given = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as place:
        print(plan_and_do(given or Path(place) / "study"))
