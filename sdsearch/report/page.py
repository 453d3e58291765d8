"""Report: one offline HTML file with everything a study found; foreign text is always escaped."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from sdsearch.design.scores import read_scores
from sdsearch.files import write_atomic
from sdsearch.labels.store import read_labels
from sdsearch.report.charts import Point, Scatter, scatter
from sdsearch.report.findings import (
    draw_scores,
    find_answer,
    list_options,
    list_predictors,
    read_gallery,
    read_json,
    tell,
)
from sdsearch.report.outcome import Outcome, notes, read_origins, with_error
from sdsearch.stages.search import read_designs
from sdsearch.study.folder import load_space
from sdsearch.study.records import versions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sdsearch.labels.label import Label
    from sdsearch.study.folder import StudyFolder


def write_report(study: StudyFolder, outcome: Outcome) -> Path:
    """Render everything that the study has so far into report.html; return its path."""
    write_atomic(study.report_file, render(study, outcome))
    return study.report_file


def render(study: StudyFolder, outcome: Outcome) -> str:
    """Return the report as one HTML string that needs no network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("sdsearch.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    labels = read_labels(study, study.config.protocol.key)
    mine = {label.arch_key: label for label in labels if label.seed == study.config.seed}
    found = _read_origins(study)
    drawn = _scatter(study, outcome, labels, found)
    scores = read_scores(study.scores_file)
    return environment.get_template("report.html.jinja").render(
        outcome=outcome,
        answer=find_answer(study, outcome, mine),
        notes=notes(outcome),
        with_error=with_error,
        tiny=study.config.teacher.pipeline == "tiny",
        target=study.config.ranker.target,
        scatter=drawn,
        series=list(dict.fromkeys(mark.series for mark in drawn.marks)) if drawn else [],
        picture=_picture(study),
        columns=_columns(study),
        gallery=read_gallery(study),
        net=draw_scores(study),
        graph_score=scores.graph_score if scores else 0.0,
        options=list_options(study),
        fit=list_predictors(study),
        designs=_designs(study, outcome, labels),
        labels=_label_rows(study, labels, found),
        label_columns=_label_columns(labels),
        facts=_facts(study, labels),
    )


def _read_origins(study: StudyFolder) -> dict[str, list[str]]:
    """Return architecture key -> everything that brought it into the study."""
    found = {key: [origin] for key, origin in read_origins(study).items()}
    for design in read_designs(study):
        found.setdefault(design.arch_key, []).append(design.name)
    return found


def _scatter(
    study: StudyFolder, outcome: Outcome, labels: list[Label], found: Mapping[str, list[str]]
) -> Scatter | None:
    """Lay out quality against parameters; what a method built covers what was only sampled."""
    points = []
    methods = {design.arch_key: design.method for design in read_designs(study)}
    for label in labels:
        if label.status != "ok" or label.seed != study.config.seed:
            continue
        names = found.get(label.arch_key, ["other"])
        sampled = "member" if names[0].startswith("member:") else "evaluated"
        value, params = label.scalar(outcome.column), label.scalar("params") / 1e6
        text = f"{', '.join(names)}: {outcome.column} {value:.2f}, {params:.2f} M parameters"
        points.append(Point(params, value, methods.get(label.arch_key, sampled), text))
    points.sort(key=lambda point: point.series != "evaluated")
    limit = outcome.limits.get("params")
    return scatter(points, None if limit is None else limit / 1e6)


def _picture(study: StudyFolder) -> str | None:
    file = study.compare_dir / "grid.png"
    return base64.b64encode(file.read_bytes()).decode() if file.is_file() else None


def _columns(study: StudyFolder) -> list[str]:
    """Return the picture's column names, as its stage recorded them."""
    record = read_json(study.root / "stages" / "compare.json")
    return ["original", "masked", *record.get("inputs", {}).get("columns", {})]


def _designs(study: StudyFolder, outcome: Outcome, labels: list[Label]) -> list[dict[str, Any]]:
    measured = {
        label.arch_key: f"measured {outcome.column} {tell(label, outcome.column)}"
        if label.status == "ok"
        else f"failed: {label.reason}"
        for label in labels
        if label.seed == study.config.seed
    }
    return [
        {
            "name": design.name,
            "arch_key": design.arch_key,
            "params": design.params,
            "reasons": design.reasons,
            "measured": measured.get(design.arch_key, "not measured yet"),
        }
        for design in read_designs(study)
    ]


def _label_columns(labels: list[Label]) -> list[str]:
    return list(dict.fromkeys(name for label in labels for name in label.values))


def _label_rows(
    study: StudyFolder, labels: list[Label], found: Mapping[str, list[str]]
) -> list[dict[str, Any]]:
    columns = _label_columns(labels)
    return [
        {
            "key": label.arch_key,
            "anchor": label.seed == study.config.seed,
            "seed": label.seed,
            "origin": ", ".join(found.get(label.arch_key, ["other"])),
            "reason": label.reason if label.status == "failed" else None,
            "cells": [tell(label, name) for name in columns],
        }
        for label in labels
    ]


def _facts(study: StudyFolder, labels: list[Label]) -> list[tuple[str, str]]:
    """Return what the numbers depend on: teacher, protocol, software of study and labels."""
    config = study.config
    facts = [
        ("teacher", config.teacher.pipeline),
        ("space", f"{config.space.name}, {len(load_space(study)):,} architectures"),
        ("target", f"{config.ranker.target} (higher is better)"),
        ("protocol key", config.protocol.key),
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
