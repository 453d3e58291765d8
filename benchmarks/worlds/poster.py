"""The table of AutoBuild's poster, on every world: what was drawn, what was searched, what is best.

The poster's own row is of SD v1.4, inpainting, FID: 68 architectures labelled, four built a method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student

from benchmarks.worlds.choose import METHODS, TOP
from benchmarks.worlds.studies import SEEDS, draw_members
from sdsearch.replay import DRAW, read_world
from sdsearch.space import Meter
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from benchmarks.worlds.results import Results

    Floats = NDArray[np.float64]

PUBLISHED = {
    "drawn, mean": "22.13",
    "drawn, best": "10.54",
    "exhaustive, mean of 4": "10.82",
    "exhaustive, best": "10.29",
    "autobuild, mean of 4": "10.13",
    "autobuild, best": "9.96",
}
CONFIDENCE = 0.95


def poster_table(worlds: Sequence[Results], budget: str, share: float) -> str:
    """Rows as on the poster, one column a world, in its endpoint; then the poster's own FID.

    Drawn members are of one label seed, designs are means over three; the interval is Student's
    over the draws of labels, and missing where no draw changes the value.
    """
    if not worlds:
        return "No designs were chosen yet."
    names = [one.world.name for one in worlds]
    head = ["", *names, "poster: SD v1.4, FID, 68 labels"]
    columns = [world_rows(one, budget, share) for one in worlds]
    rows = [head, ["---"] * len(head)]
    rows += [
        [name, *(_cell(found.get(name)) for found in columns), PUBLISHED.get(name, "")]
        for name in dict.fromkeys(name for found in columns for name in found)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def world_rows(results: Results, budget: str, share: float) -> dict[str, Floats]:
    """By row of the table, (draws,) values of the endpoint; one where draws change nothing."""
    column, members = results.world.endpoint, draw_members()
    meter = Meter(read_world(results.world.name).space)
    most = share * meter.member(UNPRUNED)["macs"]
    draws = [members[at : at + DRAW] for at in range(0, len(members), DRAW)]
    fits = [[arch for arch in draw if meter.member(arch)["macs"] <= most] for draw in draws]
    found = {"teacher": np.array([results.teacher(column)])}
    for name, parts in (("drawn", draws), ("drawn, within the budget", fits)):
        values = [[results.value(arch.key, SEEDS[0], column) for arch in part] for part in parts]
        found[f"{name}, mean"] = _by_draw(np.mean, values)
        found[f"{name}, best"] = _by_draw(np.min, values)
        found[f"{name}, mean of the best 4"] = _by_draw(_mean_of_best, values)
    for method in METHODS:
        if (budget, method) not in results.chosen:
            continue
        each = [
            [results.mean([key], column) for key in keys]
            for _, keys in sorted(results.chosen[budget, method].items())
        ]
        found[f"{method}, mean of 4"] = _by_draw(np.mean, each)
        found[f"{method}, best"] = _by_draw(np.min, each)
    return found


def _by_draw(take: Callable[[list[float]], float], values: list[list[float]]) -> Floats:
    """(draws,) something of each draw's values; NaN of a draw that has none."""
    return np.array([take(part) if part else np.nan for part in values])


def _mean_of_best(values: list[float]) -> float:
    return float(np.mean(sorted(values)[:TOP]))


def _cell(values: Floats | None) -> str:
    if values is None or np.isnan(values).any():
        return "not measured"
    mean = float(values.mean())
    if len(values) < 2:
        return f"{mean:.4g}"
    reach = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    half = float(reach * values.std(ddof=1) / np.sqrt(len(values)))
    return f"{mean:.4g} ± {half:.2g}"
