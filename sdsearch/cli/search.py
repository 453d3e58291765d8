"""`sdsearch probe`, `sample`, `fit`, `score` and `build`: from a space to designs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

import sdsearch
from sdsearch.cli.options import STUDY, Folder, Json, print_json, show


def sample(
    study: Folder = STUDY,
    strategy: Annotated[
        Literal["study", "active", "probe"],
        typer.Option(
            help="study: as study.toml says; active: what the predictor knows least of; probe: "
            "what the probe puts near the budget's front."
        ),
    ] = "study",
    count: Annotated[int, typer.Option(min=1, help="How many more, with active or probe.")] = 16,
) -> None:
    """Pick the architectures to measure: the named members and N by the study's strategy."""
    loaded = sdsearch.load_study(study)
    if strategy != "study":
        found = loaded.propose(count, strategy)
        show(f"{len(found)} more in {study / 'architectures.jsonl'}; next: sdsearch label {study}")
        return
    show(f"{len(loaded.sample())} architectures in {study / 'architectures.jsonl'}")


def probe(
    study: Folder = STUDY,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Pictures at each timestep (default: 8).")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(min=1, help="How many timesteps (default: 4).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show which blocks the teacher can do without: no labels, a few dozen forward passes."""
    from sdsearch.report import describe_probe

    loaded = sdsearch.load_study(study)
    found = loaded.probe(samples=samples, timesteps=timesteps)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in describe_probe(found, loaded.space()):
        show(f"  {line}", one_line=True)
    show(f"picture: {loaded.folder.probe_file.with_suffix('.svg')}")


def fit(study: Folder = STUDY, as_json: Json = False) -> None:
    """Fit the predictor on the labels and compare it with baselines on the same folds."""
    report = sdsearch.load_study(study).fit()
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for name, quality in report.predictors.items():
        show(f"  {name}: SRCC {quality.srcc:.3f} [{quality.low:.2f}, {quality.high:.2f}]")
    show(f"used: {report.kind}: {report.reason}")
    if report.worth is not None:
        show(report.worth.describe())


def score(study: Folder = STUDY, as_json: Json = False) -> None:
    """Score blocks and options of levels, and predict every member of the space."""
    scores = sdsearch.load_study(study).score()
    if as_json:
        print_json(scores.model_dump(mode="json"))
        return
    for line in scores.insights():
        show(f"  {line}", one_line=True)


def build(
    study: Folder = STUDY,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="Instead of those of study.toml; repeatable. one-shot needs no labels."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the best designs by each method under the budget."""
    designs = sdsearch.load_study(study).build(methods or ())
    if as_json:
        print_json([design.record.model_dump(mode="json") for design in designs])
        return
    for design in designs:
        show(f"  {design.name}: {design.architecture.key}, {design.params:,} parameters")
