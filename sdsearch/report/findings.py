"""What a study found, as the report tells it: the answer first, then the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sdsearch.design import NOT_TOLD, LabelWorth, Scores, plus_minus, read_scores
from sdsearch.drawing import draw_unet
from sdsearch.errors import InputError
from sdsearch.files import read_json
from sdsearch.keys import believe
from sdsearch.labels import Label, Latency, Measurement
from sdsearch.study import Listing, load_space, read_designs, read_listing
from sdsearch.unet import SLOTS, UNPRUNED

if TYPE_CHECKING:
    from pathlib import Path

    from sdsearch.design import Design
    from sdsearch.drawing import Drawing
    from sdsearch.report.outcome import Outcome
    from sdsearch.space import SearchSpace
    from sdsearch.study import StudyFolder
    from sdsearch.unet import Architecture, Backbone

_TOP_OPTIONS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a study has so far, read once.

    `labels` are those of the study's protocol and of all seeds; `scores` are None before scoring.
    """

    study: StudyFolder
    space: SearchSpace
    listing: Listing
    designs: tuple[Design, ...]
    labels: tuple[Label, ...]
    scores: Scores | None

    @property
    def own_labels(self) -> dict[str, Label]:
        """The labels of the study's seed by architecture."""
        return {x.arch_key: x for x in self.labels if x.seed == self.study.config.seed}


def read_evidence(study: StudyFolder) -> Evidence:
    """Read what a study has."""
    return Evidence(
        study=study,
        space=load_space(study),
        listing=read_listing(study),
        designs=read_designs(study),
        labels=tuple(study.labels.read_all(study.protocol_key)),
        scores=read_scores(study.scores_file),
    )


def find_answer(evidence: Evidence, outcome: Outcome) -> dict[str, Any] | None:
    """The best measured design beside the teacher: quality, size, work, speed; None before.

    Random designs do not count: they are what a search has to beat.
    """
    labels = {key: x for key, x in evidence.own_labels.items() if not x.failure}
    teacher = labels.get(UNPRUNED.key)
    measured = [
        design
        for design in evidence.designs
        if design.method != "random" and design.arch_key in labels
    ]
    if teacher is None or not measured:
        return None
    design = min(measured, key=lambda one: labels[one.arch_key].scalar(outcome.column))
    label = labels[design.arch_key]
    return {
        "name": design.name,
        "arch_key": design.arch_key,
        "value": tell(label, outcome.column),
        "teacher": tell(teacher, outcome.column),
        "params": label.scalar("params") / teacher.scalar("params"),
        "macs": label.scalar("macs") / teacher.scalar("macs"),
        "speed": _speed(label, teacher),
        "claim": next((one for one in outcome.claims if design.name in one.names), None),
        "methods": sorted({one.method for one in measured if one.arch_key == design.arch_key}),
    }


def _speed(label: Label, teacher: Label) -> dict[str, Any] | None:
    """Latencies of both where they were taken in the same way, else None."""
    own, other = (one.values.get("latency_ms") for one in (label, teacher))
    if not isinstance(own, Latency) or not isinstance(other, Latency):
        return None
    same = ("device", "dtype", "batch", "resolution", "threads")
    if any(getattr(own, name) != getattr(other, name) for name in same):
        return None
    return {
        "own": f"{own.median:.1f} (IQR {own.iqr:.1f})",
        "teacher": f"{other.median:.1f} (IQR {other.iqr:.1f})",
        "where": f"{own.device}, {own.threads} threads" if own.threads else own.device,
    }


def tell(label: Label, name: str) -> str:
    """One value of a label in words, a dash where it has none."""
    value = label.values.get(name)
    if value is None:
        return "-"
    if isinstance(value, Measurement):
        return f"{value.value:.4g}" if value.se is None else f"{value.value:.4g} ± {value.se:.2g}"
    if isinstance(value, Latency):
        return f"{value.median:.4g} (IQR {value.iqr:.2g}, {value.device})"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def draw_scores(
    scores: Scores,
    backbone: Backbone,
    arch: Architecture = UNPRUNED,
    title: str | None = "What each block is worth",
) -> Drawing:
    """A member as SVG, boxes coloured by what keeping them is worth, their effects in words.

    Blocks whose effect cannot be told from zero have no colour.
    """
    said = {slot.name: _say_block(scores, slot.name) for slot in SLOTS}
    worth, unclear = scores.block_worth, scores.unclear_blocks
    return draw_unet(arch, backbone, worth, title, said, unclear=unclear)


def _say_block(scores: Scores, name: str) -> str:
    """What removing a block changes."""
    block = next((block for block in scores.blocks if block.name == name), None)
    if block is None:
        return "never removed"
    others = f" with {', '.join(block.together_with)}" if block.together_with else ""
    doubt = f", which {NOT_TOLD}" if block.unclear else ""
    effect = f"{block.effect:+.3f}{plus_minus(block.spread, '.3f')}{doubt}"
    return f"removing it{others} changes the target by {effect}"


def list_options(scores: Scores) -> list[dict[str, Any]]:
    """The best options of each level by the rule of the scores, with their effects."""
    return [
        {"unit": unit.unit, "option": one.words, "effect": one.effect, "spread": one.spread}
        for unit in scores.units
        for one in scores.top_k(unit.unit, _TOP_OPTIONS)
    ]


def list_predictors(study: StudyFolder) -> list[dict[str, Any]]:
    """Predictors, best first, with their out-of-fold rank correlation; then the GNN's hops.

    Raises:
        InputError: the file that says so is damaged.
    """
    file = study.ranker_dir / "ranker.json"
    report = read_if_done(file).get("report", {})
    try:
        return _list_qualities(report)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{file} must hold the report of a fit, but: {error!r}; remove it, then run: "
            f"sdsearch run {study.root}"
        ) from None


def tell_worth(study: StudyFolder) -> str | None:
    """What more labels are expected to bring, in a sentence; None where nothing was fitted.

    Raises:
        InputError: the file that says so is damaged.
    """
    file = study.ranker_dir / "worth.json"
    found = LabelWorth.read(file, "what labels are worth", f"sdsearch fit {study.root}")
    return None if found is None else found.describe()


def _list_qualities(report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [
        {
            "name": name,
            "used": name == report["kind"],
            "srcc": quality["srcc"],
            "interval": f"{quality['low']:.2f} to {quality['high']:.2f}",
        }
        for name, quality in report.get("predictors", {}).items()
    ]
    hops = [
        {
            "name": f"gnn, norm of hop {number}",
            "used": False,
            "srcc": quality["srcc"],
            "interval": f"{quality['low']:.2f} to {quality['high']:.2f}",
        }
        for number, quality in enumerate(report.get("hops", ()))
    ]
    return sorted(rows, key=lambda row: -row["srcc"]) + hops


def read_if_done(file: Path) -> dict[str, Any]:
    """A JSON object, or an empty one where the stage has not been done.

    Raises:
        InputError: it is damaged.
    """
    if not file.is_file():
        return {}
    try:
        return {**believe(read_json(file))}
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{file} must be what a stage wrote, but: {error}; run: sdsearch run {file.parents[1]}"
        ) from None
