"""What long work shows on a terminal: lines, spinners, bars; all of it on standard error."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress


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
