"""`sdsearch probe`, `sample`, `fit`, `score` and `build`: from a space to designs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sdsearch.cli.options import Folder, Json, open_given, print_json, print_result, show


def sample(
    study: Folder = None,
    strategy: Annotated[
        Literal["study", "active", "probe"],
        typer.Option(
            help="study: as study.toml says. Add more with active: the models the predictor is "
            "least sure about; or probe: those the probe rates best for their size."
        ),
    ] = "study",
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many to add with active or probe.")
    ] = 16,
    as_json: Json = False,
) -> None:
    """Choose the models to measure.

    These are the teacher, the BK-SDM models and as many others as [space] labels in study.toml.
    """
    loaded = open_given(study)
    file = loaded.folder.architectures_file
    if as_json:
        from sdsearch.api import SampleResult
        from sdsearch.study import read_sample

        added = None if strategy == "study" else len(loaded.propose(count, strategy))
        chosen = loaded.sample() if added is None else read_sample(loaded.folder)
        print_result(SampleResult(file=str(file), architectures=len(chosen), added=added))
        return
    if strategy != "study":
        found = loaded.propose(count, strategy)
        show(f"added {len(found)} models to {file}; next: sdsearch label {loaded.path}")
        return
    show(f"chose {len(loaded.sample())} models: {file}")


def probe(
    study: Folder = None,
    samples: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Pictures per timestep (default: 8).")
    ] = None,
    timesteps: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Number of timesteps (default: 4).")
    ] = None,
    as_json: Json = False,
) -> None:
    """Estimate which blocks the model can do without.

    Removes one block at a time and compares the output. Needs no measurements, only some forward
    passes.
    """
    from sdsearch.report import describe_probe

    loaded = open_given(study)
    found = loaded.probe(samples=samples, timesteps=timesteps)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in describe_probe(found, loaded.space()):
        show(f"  {line}", one_line=True)
    show(f"picture: {loaded.folder.probe_file.with_suffix('.svg')}")


def fit(study: Folder = None, as_json: Json = False) -> None:
    """Train the predictor on the measurements.

    Prints how well it ranks models it has not seen, beside simpler predictors.
    """
    report = open_given(study).fit()
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for name, quality in report.predictors.items():
        show(f"  {name}: SRCC {quality.srcc:.3f} [{quality.low:.2f}, {quality.high:.2f}]")
    show(f"used: {report.kind}: {report.reason}")
    if report.worth is not None:
        show(report.worth.describe())


def score(study: Folder = None, as_json: Json = False) -> None:
    """Score every block, and predict every model of the space."""
    scores = open_given(study).score()
    if as_json:
        print_json(scores.model_dump(mode="json"))
        return
    for line in scores.insights():
        show(f"  {line}", one_line=True)


def build(
    study: Folder = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A method to use instead of those in study.toml; repeatable. one-shot needs no "
            "measurements.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Build the best designs within the budget, by each method."""
    designs = open_given(study).build(methods or ())
    if as_json:
        print_json([design.record.model_dump(mode="json") for design in designs])
        return
    for design in designs:
        show(f"  {design.name}: {design.architecture.key}, {design.params:,} parameters")
