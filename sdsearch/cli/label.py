"""`sdsearch label`: measure architectures here, on many machines, or on a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

import sdsearch
from sdsearch.cli.options import STUDY, Folder, Json, print_json, show
from sdsearch.errors import InputError

_TOGETHER = (["--prepare", "--halving"], ["--retry-failed", "--halving"])

Table = Annotated[
    str | None, typer.Option("--import", help='Only import a table: "tiny" or a JSONL file.')
]
Processes = Annotated[int, typer.Option(min=1, help="How many GPUs work together on one label.")]
Executor = Annotated[
    Literal["local", "ray"] | None,
    typer.Option(
        help="local: this machine; ray: a Ray cluster. Default: [label] executor in study.toml."
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Label seed (default: the study's).")]
Keys = Annotated[
    list[str] | None, typer.Option("--arch", help="Only this architecture key; repeatable.")
]
Halving = Annotated[
    bool,
    typer.Option(
        "--halving", help="All by a cheap protocol, only the best in full: [label] rungs."
    ),
]
Prepare = Annotated[
    bool, typer.Option("--prepare", help="Only compute what all labels share, before many workers.")
]
Status = Annotated[
    bool, typer.Option("--status", help="Only say what is done, running, failed and left.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Remove failed labels, then measure them again.")
]
Adopt = Annotated[
    bool,
    typer.Option(
        "--adopt", help="Only rename labels whose files or teacher have another name by now."
    ),
]
Recompute = Annotated[
    bool,
    typer.Option("--recompute-metrics", help="Values again from kept rows, without sampling."),
]


def label(
    study: Folder = STUDY,
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
    """Measure every sampled and built architecture that has no label yet.

    Start it on as many GPUs and machines as you like, with the study on a shared file system: each
    takes what is free, and takes over what a dead one held. A model that hangs is ended after
    [label] time_limit seconds. Failures are labels with a reason. More: docs/scaling.md
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
    if as_json and not status:
        raise InputError("--json goes with --status only: a label is a JSON file in labels/ itself")
    loaded = sdsearch.load_study(study)
    if table is not None:
        report = loaded.import_labels(None if table == "tiny" else table)
        show(
            f"imported {report.imported} labels, {report.skipped_existing} were there already, "
            f"refused: {report.other_protocol} of another protocol, {report.other_teacher} of "
            f"another teacher; from {report.origin}"
        )
    elif status:
        states = loaded.status()
        if as_json:
            print_json([state.model_dump(mode="json") for state in states])
        for line in [] if as_json else [line for state in states for line in state.describe()]:
            show(line, one_line=True)
    elif recompute_metrics:
        loaded.recompute()
    elif adopt:
        loaded.adopt()
    elif prepare:
        loaded.prepare(processes=processes, rungs=halving)
    else:
        if retry_failed:
            show(f"removed {loaded.forget_failed()} failed labels")
        if halving:
            for rung in loaded.label_by_halving(processes=processes, executor=executor):
                show(f"  {rung.describe()}")
        else:
            loaded.label(processes=processes, executor=executor, seed=seed, only=arch or ())


def _check_together(given: dict[str, bool]) -> None:
    """Raise `InputError` where more than one of these is given, but for what goes together."""
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1 and names not in _TOGETHER:
        raise InputError(f"{' and '.join(names)} do not go together; give one of them")
