"""The command line: a thin shell over the stages of a study; everything heavy loads inside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sdsearch.cli.bench import bench
from sdsearch.cli.compare import ManyValues, compare
from sdsearch.cli.export import export
from sdsearch.cli.label import label
from sdsearch.cli.tools import Folder, Json, check, latency, print_json, space

if TYPE_CHECKING:
    from sdsearch.study.folder import StudyFolder

_HELP = """Specialize a Stable Diffusion v1.4-family UNet for inpainting under a budget.

\b
Three complete commands:
  sdsearch init study --share 0.60     a study of the tiny model, 60 % of its parameters
  sdsearch run study                   the whole journey; killed anywhere, it resumes
  sdsearch space --space sd14 --json   size and named members of a search space

Exit codes: 0 done, 2 bad input, 1 failed work.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
for command in (space, check, label, latency, bench, export):
    app.command()(command)
app.command(cls=ManyValues)(compare)

_STUDY = Path("study")


def _load(folder: Path) -> StudyFolder:
    from sdsearch.study.folder import read_study

    return read_study(folder)


@app.command()
def init(
    study: Folder = _STUDY,
    share: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Params budget as a share of the teacher's."),
    ] = None,
) -> None:
    """Make a study folder with a commented study.toml; an existing one is kept."""
    from sdsearch.study.folder import init_study

    existed = (study / "study.toml").exists()
    init_study(study, share)
    print(f"{'kept' if existed else 'wrote'} {study / 'study.toml'}; next: sdsearch run {study}")


@app.command()
def sample(
    study: Folder = _STUDY,
    strategy: Annotated[
        Literal["study", "active"],
        typer.Option(help="study: as study.toml says; active: what the predictor knows least of."),
    ] = "study",
    count: Annotated[int, typer.Option(min=1, help="How many more, with --strategy active.")] = 16,
) -> None:
    """Pick the architectures to measure: the named members and N by the study's strategy."""
    from sdsearch.stages.sample import propose_architectures as propose
    from sdsearch.stages.sample import sample_study as run_stage

    if strategy == "active":
        found = propose(_load(study), count)
        print(f"{len(found)} more in {study / 'architectures.jsonl'}; next: sdsearch label {study}")
        return
    rows = run_stage(_load(study))
    print(f"{len(rows)} architectures in {study / 'architectures.jsonl'}")


@app.command()
def fit(study: Folder = _STUDY, as_json: Json = False) -> None:
    """Fit the predictor on the labels and compare it with baselines on the same folds."""
    from sdsearch.stages.fit import fit_study as run_stage

    report = run_stage(_load(study))
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    for name, quality in report.predictors.items():
        print(f"  {name}: SRCC {quality.srcc:.3f} [{quality.low:.2f}, {quality.high:.2f}]")
    print(f"used: {report.kind}: {report.reason}")


@app.command()
def score(study: Folder = _STUDY, as_json: Json = False) -> None:
    """Score features, blocks and options, and predict every member of the space."""
    from sdsearch.stages.score import score_study as run_stage

    scores = run_stage(_load(study))
    if as_json:
        print_json(scores.model_dump(mode="json"))
        return
    for line in scores.insights():
        print(f"  {line}")


@app.command()
def build(study: Folder = _STUDY, as_json: Json = False) -> None:
    """Build the best designs by each method under the budget."""
    from sdsearch.stages.build import build_study as run_stage

    designs = run_stage(_load(study))
    if as_json:
        print_json([design.model_dump(mode="json") for design in designs])
        return
    for design in designs:
        print(f"  {design.name}: {design.arch_key}, {design.params:,} parameters")


@app.command()
def recover(
    study: Folder = _STUDY,
    design: Annotated[str, typer.Option(help="A built design's name.")] = "autobuild-1",
    processes: Annotated[int, typer.Option(min=1, help="One per GPU; torchrun starts them.")] = 1,
) -> None:
    """Recover a design by the long recipe of [export.recovery]; resumes from its checkpoints."""
    from sdsearch.stages.recover import recover_design as run_stage

    print(run_stage(_load(study), design, processes))


@app.command()
def report(study: Folder = _STUDY) -> None:
    """Print the outcome table and write report.html, one offline file."""
    from sdsearch.stages.report import report_study as run_stage

    print(run_stage(_load(study)))


@app.command(name="app")
def serve_app(
    study: Folder = _STUDY,
    host: Annotated[str, typer.Option(help="Address to serve at.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help="Default: the first free from 7860.")] = None,
) -> None:
    """Inpaint and design in a browser: a local page of the study (extra `app`)."""
    from sdsearch.harness import run_harness
    from sdsearch.study.requests import AppRequest

    run_harness(AppRequest(study=_load(study).root, host=host, port=port))


@app.command()
def run(study: Folder = _STUDY) -> None:
    """Do the whole journey; what is done and current is skipped, so that it resumes anywhere."""
    from sdsearch.stages.journey import run_study as run_journey

    run_journey(_load(study))


def main() -> None:
    """Run the command line; a user's mistake is one message and exit code 2, never a traceback."""
    from sdsearch.errors import HarnessError, InputError, WorkError

    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except HarnessError as error:
        sys.exit(2 if error.code == 2 else 1)
    except (WorkError, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
