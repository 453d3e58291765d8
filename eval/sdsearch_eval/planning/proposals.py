"""Proposals: settings with which a study fits into a smaller memory, as lines for study.toml."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.planning import Proposal
from sdsearch_eval.planning.fitting import USABLE, fit_label, fit_prepare, fit_recover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import BaseModel

    from sdsearch.unet import Architecture
    from sdsearch_eval.planning.fitting import Fitted
    from sdsearch_eval.planning.phases import Work


Trained = Literal["label", "recover", "tune"]
"""The stages in which something is trained; `recover` and `tune` by the work's long recipe."""
_LONG = "export.recovery"


@dataclass(frozen=True, slots=True)
class Change:
    """A setting that saves memory: a line of study.toml, and the work with it.

    `is_said` is False for what only lets a step be cut: the cut that is found is said instead.
    """

    section: str
    line: str
    apply: Callable[[Work], Work]
    is_said: bool = True


def _set(model: BaseModel, **values: Any) -> Any:
    return model.model_copy(update=values)


def _with_recipe(work: Work, **values: Any) -> Work:
    protocol = work.protocol
    return replace(work, protocol=_set(protocol, recovery=_set(protocol.recovery, **values)))


CHANGES = (
    Change(
        "machine",
        'teacher = "host"',
        lambda work: replace(work, machine=_set(work.machine, teacher="host")),
    ),
    Change(
        "machine",
        'gradient_checkpointing = "auto"',
        lambda work: replace(work, machine=_set(work.machine, gradient_checkpointing="auto")),
        is_said=False,
    ),
    Change(
        "machine",
        'micro_batch = "auto"',
        lambda work: replace(work, machine=_set(work.machine, micro_batch="auto")),
        is_said=False,
    ),
    Change(
        "protocol",
        'dtype = "float16"',
        lambda work: replace(work, protocol=_set(work.protocol, dtype="float16")),
    ),
    Change(
        "protocol.recovery",
        'teacher_dtype = "float16"',
        lambda work: _with_recipe(work, teacher_dtype="float16"),
    ),
    Change(
        "protocol.recovery",
        'optimizer = "adamw8bit"',
        lambda work: _with_recipe(work, optimizer="adamw8bit"),
    ),
    Change(
        _LONG,
        'teacher_dtype = "float16"',
        lambda work: replace(work, long=_set(work.long, teacher_dtype="float16")),
    ),
    Change(
        _LONG,
        'optimizer = "adamw8bit"',
        lambda work: replace(work, long=_set(work.long, optimizer="adamw8bit")),
    ),
    Change(_LONG, "ema = 0", lambda work: replace(work, long=_set(work.long, ema=0.0))),
)
"""What saves memory, in the order in which it is tried: first what changes no value, then what
changes labels, then what makes exports a little worse."""


def propose_settings(work: Work, arch: Architecture, stage: Trained, gigabytes: float) -> Proposal:
    """Settings with which a stage of `arch` fits into a memory of so many gigabytes.

    As few as possible are changed, those first that change no value. Labels need what they share.
    """
    room = int(USABLE * gigabytes * 1e9)

    def need(changes: Sequence[Change]) -> Fitted:
        return _fit(_apply(work, changes), arch, stage, room)

    applied: list[Change] = []
    for change in CHANGES:
        if need(applied).peak.total <= room:
            break
        applied.append(change)
    for change in tuple(applied):
        fewer = [one for one in applied if one is not change]
        if need(fewer).peak.total <= need(applied).peak.total or need(fewer).peak.total <= room:
            applied = fewer
    found = need(applied)
    sections = {_LONG: "teacher.tuning"} if stage == "tune" else {}
    lines = [
        f"[{sections.get(change.section, change.section)}] {change.line}"
        for change in applied
        if change.is_said
    ]
    return Proposal(
        gigabytes=gigabytes,
        stage=stage,
        usable=room,
        lines=(*lines, *_say_cut(found, work, stage)),
        need=found.peak.total,
    )


def _fit(work: Work, arch: Architecture, stage: Trained, room: int) -> Fitted:
    if stage != "label":
        return fit_recover(arch, work, room)
    label, prepared = fit_label(arch, work, room), fit_prepare(work, room)
    return label if label.peak.total >= prepared.peak.total else replace(prepared, cut=label.cut)


def _apply(work: Work, changes: Sequence[Change]) -> Work:
    for change in changes:
        work = change.apply(work)
    return work


def _say_cut(fitted: Fitted, work: Work, stage: Trained) -> Iterator[str]:
    """The cut that the harness would find by trying, so that it need not try."""
    recipe = work.protocol.recovery if stage == "label" else work.long
    if fitted.cut is not None and fitted.cut.checkpointing:
        yield "[machine] gradient_checkpointing = true"
    if fitted.cut is not None and fitted.cut.micro_batch < recipe.batch_size:
        yield f"[machine] micro_batch = {fitted.cut.micro_batch}"
