from __future__ import annotations

from sdsearch.report.charts import Point, lower_front, nice_ticks, scatter


def test_ticks_are_round_and_inside_the_range() -> None:
    assert nice_ticks(0.9, 5.2) == [1, 2, 3, 4, 5]
    assert nice_ticks(212.0, 289.0) == [220, 240, 260, 280]


def test_larger_values_lie_further_right_and_higher_up() -> None:
    drawn = scatter([Point(1, 10, "random", "a"), Point(2, 20, "random", "b")])
    assert drawn is not None
    low, high = drawn.marks
    assert low.cx < high.cx
    assert low.cy > high.cy  # SVG counts downwards


def test_a_limit_outside_the_points_is_still_on_the_canvas() -> None:
    drawn = scatter([Point(1, 10, "random", "a"), Point(2, 20, "random", "b")], limit=5.0)
    assert drawn is not None
    assert drawn.limit is not None
    assert drawn.marks[1].cx < drawn.limit <= drawn.right


def test_equal_points_and_no_points_can_be_drawn() -> None:
    assert scatter([]) is None
    drawn = scatter([Point(3, 3, "random", "a")] * 2)
    assert drawn is not None
    assert drawn.left < drawn.marks[0].cx < drawn.right


def test_the_front_is_the_staircase_below_which_nothing_lies() -> None:
    points = [Point(x, y, "random", "") for x, y in ((2, 5), (1, 9), (3, 7), (4, 1), (4, 3))]
    assert lower_front(points) == [(1, 9), (2, 9), (2, 5), (4, 5), (4, 1)]
