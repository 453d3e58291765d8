"""Steps: what a run has done and has left, and how long that will take as far as is known."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.console import say
from sdsearch.files import read_json_bytes, write_atomic
from sdsearch.model import FrozenModel
from sdsearch.planning.tasks import list_tasks
from sdsearch.planning.values import EACH, StudyPlan
from sdsearch.shell import describe_error
from sdsearch.study import Stage, is_current, record_done

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sdsearch.study import StudyFolder

StepName = Literal[
    "tune",
    "probe",
    "sample",
    "label",
    "fit",
    "score",
    "build",
    "designs",
    "compare",
    "export",
    "report",
]
_WORDS: dict[StepName, str] = {
    "tune": "teach the model to inpaint",
    "probe": "try the model without each block",
    "sample": "choose models to measure",
    "label": "measure them",
    "fit": "train the predictor",
    "score": "score blocks, predict all models",
    "build": "build designs within the budget",
    "designs": "measure the designs",
    "compare": "paint pictures side by side",
    "export": "export the best designs",
    "report": "write report.html",
}
_NEEDS: dict[StepName, tuple[Stage, ...]] = {
    "tune": ("tune",),
    "probe": ("probe",),
    "label": ("prepare", "label"),
    "build": ("search",),
    "designs": ("measure",),
    "compare": ("remake", "compare"),
    "export": ("export",),
}
"""Which stages of a plan a step does; a plan counts fit, score and build together."""


class Step(FrozenModel):
    """A step of a run.

    Attributes:
        name: which.
        is_done: whether nothing of it, nor of any step before it, is left.
        done: how many of its parts are done, such as models; None where it has none.
        total: how many parts it has.
        seconds: what is left takes so long on this machine; None where that is not known.
    """

    name: StepName
    is_done: bool
    done: int | None = None
    total: int | None = None
    seconds: float | None = None


class RunPlan(FrozenModel):
    """What `sdsearch run` will do, in this order; `study` is its folder."""

    study: str
    steps: tuple[Step, ...]

    @property
    def seconds(self) -> float:
        """All that is left and whose time is known."""
        return sum(step.seconds or 0.0 for step in self.steps)

    def __str__(self) -> str:
        """A line for each step, and one of the time."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        left = sum(not step.is_done for step in self.steps)
        yield f"plan: {len(self.steps)} steps, {left} to do"
        for step in self.steps:
            parts = "" if step.total is None else f"{step.done} of {step.total}"
            state = "done" if step.is_done else "to do"
            time = f"about {_span(step.seconds)}" if step.seconds else ""
            yield f"  {state:<6} {_WORDS[step.name]:<33} {parts:<11} {time}".rstrip()
        if self.seconds:
            yield f"about {_span(self.seconds)} for the steps whose time is known"
        elif left > 1:
            yield f"how long will it take? sdsearch plan {self.study}"


def _span(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def keep_plan(study: StudyFolder, plan: StudyPlan) -> None:
    """Keep a plan in its study, for what `read_times` says; a study that is read-only has none."""
    file = _file(study)
    try:
        write_atomic(file, plan.model_dump_json(indent=1) + "\n", study.root)
        record_done(study, "plan", _planned(study), [file])
    except OSError as error:
        say(f"the plan is not kept: {describe_error(error)}")


def read_times(study: StudyFolder) -> Mapping[Stage, float]:
    """Seconds that one architecture of each stage takes, as last planned on this machine.

    Empty where there is no plan of the study as study.toml says now, or it was made elsewhere.
    """
    if not is_current(study, "plan", _planned(study)):
        return {}
    plan = StudyPlan.model_validate_json(read_json_bytes(_file(study)))
    return {
        need.stage: need.seconds / need.times
        for need in plan.needs
        if need.seconds is not None and need.times
    }


def estimate_steps(
    study: StudyFolder, steps: tuple[Step, ...], label_seconds: float | None
) -> tuple[Step, ...]:
    """The steps with the time of what is left.

    Args:
        study: whose tasks are counted.
        steps: its steps.
        label_seconds: what a label has taken so far, which is better known than planned.
    """
    left = {
        task.stage: len(task.architectures) if task.stage in EACH else 1
        for task in list_tasks(study)
        if task.architectures
    }
    times = dict(read_times(study))
    if label_seconds is not None:
        times |= {"label": label_seconds, "measure": label_seconds, "prepare": 0.0}
    found = []
    for step in steps:
        needed = [stage for stage in _NEEDS.get(step.name, ()) if stage in left]
        is_known = not step.is_done and needed and all(stage in times for stage in needed)
        spent = sum(times[stage] * left[stage] for stage in needed) if is_known else None
        found.append(step.model_copy(update={"seconds": spent}))
    return tuple(found)


def _file(study: StudyFolder) -> Path:
    return study.root / "plan.json"


def _planned(study: StudyFolder) -> dict[str, Any]:
    """What the times of a plan depend on: all of study.toml, and the machine."""
    return {"config": study.config.model_dump(mode="json"), "machine": platform.node()}
