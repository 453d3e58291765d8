"""Orders and answers survive their line, among whatever libraries print."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sdsearch.labels.label import Failure
from sdsearch.workers.messages import (
    MARK,
    FailOrder,
    Finished,
    FinishOrder,
    Labelled,
    LabelOrder,
    Lost,
    Ready,
    Stopped,
    read_answer,
    read_order,
    write_answer,
    write_order,
)
from tests.fakes import make_label

FAILURE = Failure(kind="memory", message='out of memory:\n"}', phase="recovery")


@pytest.mark.parametrize(
    "order",
    [LabelOrder(arch_key="a"), FailOrder(arch_key="a", failure=FAILURE), FinishOrder()],
)
def test_an_order_is_one_line_and_read_as_it_was_given(order) -> None:
    line = write_order(order)
    assert line.count("\n") == 1
    assert read_order(line) == order


@pytest.mark.parametrize(
    "answer",
    [
        Ready(),
        Labelled(label=make_label(fd={"value": 1.5, "se": 0.1, "n": 3}, params=7)),
        Labelled(label=make_label(failure=FAILURE)),
        Lost(failure=FAILURE),
        Finished(),
        Stopped(message="a mask\nis empty", is_input=True),
    ],
)
def test_an_answer_is_one_marked_line_and_read_as_it_was_given(answer) -> None:
    line = write_answer(answer)
    assert line.count("\n") == 1
    assert read_answer(line) == answer


@pytest.mark.parametrize("line", ["", "step 3 of 8\n", '{"answer": "ready"}\n'])
def test_what_libraries_print_is_no_answer(line: str) -> None:
    assert read_answer(line) is None


def test_an_answer_of_another_kind_is_refused() -> None:
    with pytest.raises(ValidationError):
        read_answer(MARK + '{"answer": "maybe"}')
