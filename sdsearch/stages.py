"""Stage records: what a stage was made from and what it made, so that a rerun can skip it.

A stage is current when its record has the key of the present inputs and every output still has the
recorded hash. Times of files mean nothing; the record is written last, so a killed stage is redone.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from sdsearch.content import content_key, file_sha256
from sdsearch.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console
    from rich.progress import Progress

    from sdsearch.study import Study

PACKAGES = ("sdsearch", "torch", "diffusers", "transformers", "numpy", "scikit-learn")


def is_current(study: Study, stage: str, inputs: Mapping[str, Any]) -> bool:
    """Say whether a stage has been done with these inputs and its outputs are untouched."""
    try:
        record = json.loads(_record(study, stage).read_text(encoding="utf-8"))
        outputs = record["outputs"]
        return record["inputs_key"] == _key(inputs) and all(
            file_sha256(study.root / name) == digest for name, digest in outputs.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def record_done(
    study: Study, stage: str, inputs: Mapping[str, Any], outputs: Sequence[Path]
) -> None:
    """Record a finished stage with its resolved configuration, versions and output hashes."""
    record = {
        "schema": 1,
        "stage": stage,
        "inputs_key": _key(inputs),
        "inputs": dict(inputs),
        "outputs": {str(file.relative_to(study.root)): file_sha256(file) for file in outputs},
        "config": study.config.model_dump(mode="json"),
        "versions": versions(),
    }
    write_atomic(_record(study, stage), json.dumps(record, indent=2) + "\n")


def outputs_of(study: Study, stage: str) -> dict[str, str]:
    """Return the output hashes of a finished stage: the inputs of the next one."""
    record = json.loads(_record(study, stage).read_text(encoding="utf-8"))
    found: dict[str, str] = record["outputs"]
    return found


def versions() -> dict[str, str]:
    """Return the installed versions of what may change a result."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def say(text: str) -> None:
    """Print one line of progress to standard error, where it does not mix with results."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, markup=False, soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something runs (a spinner on a terminal) and how long it took."""
    from rich.console import Console

    start = time.monotonic()
    with Console(stderr=True).status(f"{what} ..."):
        yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


def progress_bar(console: Console) -> Progress:
    """A bar with counts, elapsed and remaining time."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of how many of `total` are done (on a terminal); yields what tells it the number."""
    from rich.console import Console

    with progress_bar(Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def following_labels(total: int, done: int) -> Iterator[Callable[[int, str], None]]:
    """A bar of labels with the time left; yields what tells it their number and the latest news.

    What went wrong is printed, and all news where no bar can be drawn.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    with progress_bar(console) as bar:
        task = bar.add_task("labels", total=total, completed=done)

        def tell(count: int, news: str) -> None:
            bar.update(task, completed=count)
            if not news.endswith(" ok") or not console.is_terminal:
                console.print(f"label {count} of {total}: {news}", markup=False, soft_wrap=True)

        yield tell


def _record(study: Study, stage: str) -> Path:
    return study.root / "stages" / f"{stage}.json"


def _key(inputs: Mapping[str, Any]) -> str:
    return content_key({"inputs": inputs, "version": versions()["sdsearch"]})
