"""`sdsearch label`: measure models here, on many machines, or on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from sdsearch.cli.options import Folder, Json, open_given, print_json, show
from sdsearch.console import say
from sdsearch.errors import InputError

_TOGETHER = (["--prepare", "--halving"], ["--retry-failed", "--halving"])

Table = Annotated[
    str | None,
    typer.Option(
        "--import", metavar="TABLE", help='Load measurements from a JSONL file, or those of "tiny".'
    ),
]
Processes = Annotated[int, typer.Option(min=1, metavar="N", help="GPUs per measurement.")]
Executor = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(help="This machine or a Ray cluster. Default: [label] executor in study.toml."),
]
Seed = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="Random seed (default: the study's).")
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--arch", metavar="KEY", help="Measure only this model; repeatable."),
]
Halving = Annotated[
    bool,
    typer.Option(
        "--halving",
        help="Successive halving: measure all models cheaply, then only the best in full (see "
        "[label] rungs).",
    ),
]
Prepare = Annotated[
    bool,
    typer.Option("--prepare", help="Only precompute shared data; run once before many workers."),
]
Status = Annotated[bool, typer.Option("--status", help="Show progress and exit.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Measure failed models again.")]
Adopt = Annotated[
    bool,
    typer.Option(
        "--adopt",
        help="Only rename measurements whose image files or model were renamed since.",
    ),
]
Recompute = Annotated[
    bool,
    typer.Option("--recompute-metrics", help="Recompute metrics from saved data; no sampling."),
]


def label(
    study: Folder = None,
    table: Table = None,
    processes: Processes = 1,
    executor: Executor = None,
    seed: Seed = None,
    arch: Keys = None,
    halving: Halving = False,
    prepare: Prepare = False,
    status: Status = False,
    retry_failed: RetryFailed = False,
    recompute_metrics: Recompute = False,
    adopt: Adopt = False,
    as_json: Json = False,
) -> None:
    """Measure all chosen models and designs not measured yet.

    Can run on several GPUs or machines at once if they share the study folder; work of a crashed
    machine is picked up by the others. A model that hangs is stopped after [label] time_limit
    seconds. Failures are recorded with their reason. With --json, prints the status in the end,
    whatever else was asked for. More: docs/scaling.md
    """
    _check_together(
        {
            "--import": table is not None,
            "--status": status,
            "--recompute-metrics": recompute_metrics,
            "--adopt": adopt,
            "--prepare": prepare,
            "--retry-failed": retry_failed,
            "--halving": halving,
            "--seed or --arch": seed is not None or bool(arch),
        }
    )
    loaded = open_given(study)
    tell = say if as_json else show
    if table is not None:
        report = loaded.import_labels(None if table == "tiny" else table)
        tell(
            f"loaded {report.imported} measurements, {report.skipped_existing} were there already; "
            f"refused {report.other_protocol} of another protocol and {report.other_teacher} of "
            f"another teacher; from {report.origin}"
        )
    elif status:
        for line in [] if as_json else [x for state in loaded.status() for x in state.describe()]:
            show(line, one_line=True)
    elif recompute_metrics:
        loaded.recompute()
    elif adopt:
        loaded.adopt()
    elif prepare:
        loaded.prepare(processes=processes, rungs=halving)
    else:
        if retry_failed:
            tell(f"removed {loaded.forget_failed()} failed measurements")
        if halving:
            for rung in loaded.label_by_halving(processes=processes, executor=executor):
                tell(f"  {rung.describe()}")
        else:
            loaded.label(processes=processes, executor=executor, seed=seed, only=arch or ())
    if as_json:
        print_json([state.model_dump(mode="json") for state in loaded.status()])


def _check_together(given: dict[str, bool]) -> None:
    """Raise `InputError` where more than one of these is given, but for what goes together."""
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1 and names not in _TOGETHER:
        raise InputError(f"{' and '.join(names)} cannot be combined; choose one of them")
