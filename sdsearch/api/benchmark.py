"""The tabular benchmark: measured members of the worlds as one DataFrame each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.api.frames import frame_benchmark

if TYPE_CHECKING:
    from pandas import DataFrame


def load_benchmark(world: str) -> DataFrame:
    """What was measured of the members of a tiny teacher, one row a measurement.

    The index is the architecture's key. `level0`, `level1`, `level2` and `bottom` are the numbers
    of its options in the search space, what a method searches over; `params` and `macs` are what it
    costs. `draw` numbers the eight disjoint draws of 32 uniform members and is missing elsewhere.
    Every measured column, such as `fd_efflite0`, has its standard error in NAME_se. Rows compare
    where `seed` and `recovery_steps` are the same. docs/benchmark.md has the data sheet.

    >>> import sdsearch
    >>> table = sdsearch.load_benchmark("words-16")
    >>> table[table.draw == 0].query("seed == 0 and recovery_steps == 30").shape[0]
    32

    Args:
        world: "fill-16", "words-16" or "words-16-b".

    Raises:
        InputError: there is no such world, or pandas is not installed.
    """
    from sdsearch.replay import draw_of_members, read_world

    found = read_world(world)
    return frame_benchmark(found.labels, found.space, draw_of_members(found.space))
