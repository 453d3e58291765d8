"""What a worker and its harness process say to each other: typed orders and answers, a line each.

Orders go to the process's standard input; answers come on its standard output behind a mark, since
libraries print there too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from sdsearch.labels import Failure, Label
from sdsearch.model import FrozenModel

MARK = "@sdsearch "
"""What an answer's line begins with."""


class LabelOrder(FrozenModel):
    """Measure an architecture."""

    order: Literal["label"] = "label"
    arch_key: str


class FailOrder(FrozenModel):
    """Make the failed label of an architecture that could not be measured."""

    order: Literal["fail"] = "fail"
    arch_key: str
    failure: Failure


class FinishOrder(FrozenModel):
    """Do what comes after the last label."""

    order: Literal["finish"] = "finish"


class Ready(FrozenModel):
    """All that labels share is prepared: the first answer, without an order."""

    answer: Literal["ready"] = "ready"


class Begun(FrozenModel):
    """The ordered measurement has begun: from here on its end tells of the architecture."""

    answer: Literal["begun"] = "begun"


class Labelled(FrozenModel):
    """The label that was ordered."""

    answer: Literal["labelled"] = "labelled"
    label: Label


class Lost(FrozenModel):
    """No label, by a fault that is not the architecture's: another attempt may bring it."""

    answer: Literal["lost"] = "lost"
    failure: Failure


class Finished(FrozenModel):
    """What comes after the last label is done."""

    answer: Literal["finished"] = "finished"


class Stopped(FrozenModel):
    """Something concerns all labels: wrong input, or work that failed. The process ends."""

    answer: Literal["stopped"] = "stopped"
    message: str
    is_input: bool


Order = Annotated[LabelOrder | FailOrder | FinishOrder, Field(discriminator="order")]
Answer = Annotated[
    Ready | Begun | Labelled | Lost | Finished | Stopped, Field(discriminator="answer")
]
_ORDER: TypeAdapter[Order] = TypeAdapter(Order)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


def write_order(order: Order) -> str:
    """An order as a line."""
    return order.model_dump_json() + "\n"


def read_order(line: str) -> Order:
    """The order of a line."""
    return _ORDER.validate_json(line)


def write_answer(answer: Answer) -> str:
    """An answer as a marked line."""
    return f"{MARK}{answer.model_dump_json()}\n"


def read_answer(line: str) -> Answer | None:
    """The answer of a line, or None where it is something else that was printed."""
    return _ANSWER.validate_json(line.removeprefix(MARK)) if line.startswith(MARK) else None
