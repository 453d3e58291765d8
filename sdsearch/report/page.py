"""Report: one offline HTML file with everything a study found; foreign text is always escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.console import make_console, say
from sdsearch.design import CLEAR_SPREADS
from sdsearch.files import write_atomic
from sdsearch.labels import (
    RUNTIME_HEADER,
    read_costs,
    read_runtimes,
    runtime_notes,
    runtime_rows,
)
from sdsearch.report.charts import Point, Scatter, scatter
from sdsearch.report.claims import CLAIM_HEADER, claim_notes
from sdsearch.report.findings import (
    Evidence,
    draw_scores,
    find_answer,
    list_options,
    list_predictors,
    read_evidence,
    read_if_done,
    tell,
    tell_worth,
)
from sdsearch.report.gallery import read_gallery
from sdsearch.report.outcome import Outcome, notes, outcome_table, summarize_outcome, with_error
from sdsearch.study import is_as_written, versions
from sdsearch.unet import is_full_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sdsearch.report.gallery import GalleryRow
    from sdsearch.study import StudyFolder


def report_study(study: StudyFolder) -> Path:
    """Print the outcome table and write report.html; return its path."""
    outcome = summarize_outcome(study)
    make_console(to_stdout=True).print(outcome_table(outcome))
    return write_report(study, outcome)


def write_report(study: StudyFolder, outcome: Outcome) -> Path:
    """Render everything that the study has so far into report.html; return its path."""
    write_atomic(study.report_file, render(read_evidence(study), outcome))
    return study.report_file


def render(evidence: Evidence, outcome: Outcome) -> str:
    """Return the report as one HTML string that needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sdsearch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    study, scores = evidence.study, evidence.scores
    script, gallery = environment.get_template("report.js").render(), read_gallery(study)
    drawn = _scatter(evidence, outcome)
    return environment.get_template("report.html.jinja").render(
        outcome=outcome,
        answer=find_answer(evidence, outcome),
        notes=notes(outcome),
        claim_header=CLAIM_HEADER,
        claim_notes=claim_notes(outcome.claims),
        with_error=with_error,
        tiny=not is_full_size(study.config.teacher.pipeline),
        target=study.config.ranker.target.expression,
        scatter=drawn,
        size=_size_axis(outcome)[2],
        series=list(dict.fromkeys(mark.series for mark in drawn.marks)) if drawn else [],
        picture=_picture(study),
        costs=_costs(study),
        runtimes=_runtimes(evidence),
        runtime_header=RUNTIME_HEADER,
        columns=_columns(study, gallery),
        gallery=gallery,
        paints_words=study.config.protocol.paints_words,
        net=draw_scores(scores, evidence.space.backbone) if scores else None,
        unclear=scores.unclear_blocks if scores else (),
        clear_spreads=CLEAR_SPREADS,
        options=list_options(scores) if scores else [],
        rule=scores.rule if scores else None,
        fit=list_predictors(study),
        worth=tell_worth(study),
        designs=_designs(evidence, outcome),
        labels=_label_rows(evidence),
        label_columns=_label_columns(evidence),
        facts=_facts(evidence),
        script=script,
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _names(evidence: Evidence) -> dict[str, str]:
    """Everything that brought an architecture into the study, in words, by its key."""
    return {entry.arch_key: ", ".join(entry.names) for entry in evidence.listing}


def _size_axis(outcome: Outcome) -> tuple[Literal["params", "macs"], float, str]:
    """What size is told in: what the budget limits, else parameters; its unit, and in words."""
    if "macs" in outcome.limits and "params" not in outcome.limits:
        return "macs", 1e9, "multiply-accumulates of a UNet call, billions"
    return "params", 1e6, "UNet parameters, millions"


def _scatter(evidence: Evidence, outcome: Outcome) -> Scatter | None:
    """Lay out quality against size; what a method built covers what was only sampled."""
    points, names = [], _names(evidence)
    column, unit, words = _size_axis(outcome)
    series = dict.fromkeys(evidence.listing.keys_from("member"), "member")
    series |= {design.arch_key: design.method for design in evidence.designs}
    for key, label in evidence.own_labels.items():
        if label.failure:
            continue
        value, size = label.scalar(outcome.column), label.scalar(column) / unit
        said = f"{outcome.column} {value:.2f}, {size:.3g} {words.rpartition(', ')[2]} of {column}"
        text = f"{names.get(key, 'other')}: {said}"
        points.append(Point(size, value, series.get(key, "evaluated"), text))
    points.sort(key=lambda point: point.series != "evaluated")
    limit = outcome.limits.get(column)
    return scatter(points, None if limit is None else limit / unit)


def _picture(study: StudyFolder) -> str | None:
    file = study.compare_dir / "grid.png"
    if not file.is_file():
        return None
    if not is_as_written(study, "compare", file):
        say(f"{file} is damaged, and left out of the report; run: sdsearch compare {study.root}")
        return None
    return base64.b64encode(file.read_bytes()).decode()


def _costs(study: StudyFolder) -> dict[str, Any] | None:
    """What the compared pipelines cost, as rows of text; None where nothing was compared."""
    costs = read_costs(study.compare_dir / "comparison.json")
    if not costs:
        return None
    measured = [cost.picture for cost in costs if cost.picture is not None]
    return {
        "rows": [(x.name, x.call_said, x.seconds_said, x.memory_said) for x in costs],
        "settings": list(dict.fromkeys(one.setting for one in measured)),
    }


def _runtimes(evidence: Evidence) -> list[dict[str, Any]]:
    """The measured runtimes of each exported design, as rows of text; none where nobody asked."""
    folder = evidence.study.pipelines_dir
    names = sorted({design.name for design in evidence.designs})
    tables = [(name, read_runtimes(folder / name / "runtimes.json")) for name in names]
    return [
        {"name": name, "rows": runtime_rows(table), "notes": runtime_notes(table)}
        for name, table in tables
        if table is not None
    ]


def _columns(study: StudyFolder, gallery: Sequence[GalleryRow]) -> list[str]:
    """Return the picture's column names, as the file beside it has them."""
    described = read_if_done(study.compare_dir / "comparison.json")
    painted = [column["name"] for column in described.get("columns", ())]
    if gallery:
        return list(gallery[0].images)
    asked = [] if study.config.protocol.paints_words else ["original", "masked"]
    return [*asked, *painted]


def _designs(evidence: Evidence, outcome: Outcome) -> list[dict[str, Any]]:
    measured = {
        key: f"failed: {label.failure}"
        if label.failure
        else f"measured {outcome.column} {tell(label, outcome.column)}"
        for key, label in evidence.own_labels.items()
    }
    return [
        {
            "name": design.name,
            "arch_key": design.arch_key,
            "params": design.params,
            "reasons": design.reasons,
            "measured": measured.get(design.arch_key, "not measured yet"),
        }
        for design in evidence.designs
    ]


def _label_columns(evidence: Evidence) -> list[str]:
    return list(dict.fromkeys(name for label in evidence.labels for name in label.values))


def _label_rows(evidence: Evidence) -> list[dict[str, Any]]:
    columns, names = _label_columns(evidence), _names(evidence)
    return [
        {
            "key": label.arch_key,
            "anchor": label.seed == evidence.study.config.seed,
            "seed": label.seed,
            "origin": names.get(label.arch_key, "other"),
            "reason": label.failure and str(label.failure),
            "cells": [tell(label, name) for name in columns],
        }
        for label in evidence.labels
    ]


def _facts(evidence: Evidence) -> list[tuple[str, str]]:
    """Return what the numbers depend on: teacher, protocol, software of study and labels."""
    config, labels = evidence.study.config, evidence.labels
    tuned = ", which learned to inpaint first" if config.teacher.inpaint else ""
    facts = [
        ("teacher", f"{config.teacher.pipeline}{tuned}"),
        ("space", f"{config.space.name}, {len(evidence.space):,} architectures"),
        ("target", f"{config.ranker.target.expression} (higher is better)"),
        ("protocol key", evidence.study.protocol_key),
        ("label seed", str(config.seed)),
    ]
    for name, value in config.protocol.model_dump(mode="json").items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        facts.append((f"protocol: {name}", text))
    facts += [(f"this report: {name}", number) for name, number in versions().items()]
    stated = {json.dumps(label.provenance.get("versions", {}), sort_keys=True) for label in labels}
    facts += [("labels measured with", text) for text in sorted(stated)]
    teachers = {str(label.provenance.get("teacher_sha256", "not stated")) for label in labels}
    return facts + [("labels' teacher sha256", text) for text in sorted(teachers)]
