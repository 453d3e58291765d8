"""What long work shows on a terminal: lines, spinners, bars; all of it on standard error.

Text is shown as it is: a path may hold what rich takes for markup or for an emoji. What steers a
terminal is shown as an escape.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from sdsearch.shell import show_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from rich.console import Console
    from rich.progress import Progress
    from rich.status import Status
    from rich.text import Text

    class Teller(Protocol):
        """Tells how many labels there are, what became of an attempt, and the headway."""

        def __call__(self, count: int, news: str, headway: str, *, is_routine: bool) -> None:
            """`is_routine` says that all went well."""


_WHILE = 1.0
"""Seconds from which on it is said how long something took."""
Verbosity = Literal["quiet", "verbose"]
_VERBOSITY = "SDSEARCH_VERBOSITY"
"""The environment variable that says how much is shown, to processes of the harness too."""


@contextmanager
def speaking(verbosity: Verbosity | None) -> Iterator[None]:
    """Show less, or more, progress as long as the context is open; None changes nothing.

    "quiet" shows none of it, "verbose" also what is over at once.
    """
    before = os.environ.get(_VERBOSITY)
    if verbosity is not None:
        os.environ[_VERBOSITY] = verbosity
    try:
        yield
    finally:
        if before is not None:
            os.environ[_VERBOSITY] = before
        else:
            os.environ.pop(_VERBOSITY, None)


def is_quiet() -> bool:
    """Whether no progress is to be shown."""
    return os.environ.get(_VERBOSITY) == "quiet"


def is_verbose() -> bool:
    """Whether everything is to be shown, however short it takes."""
    return os.environ.get(_VERBOSITY) == "verbose"


def make_console(*, quiet: bool = False, to_stdout: bool = False) -> Console:
    """A console that shows text as it is: for progress, or with `to_stdout` for what was asked."""
    return _plain_console(stderr=not to_stdout, quiet=quiet or (is_quiet() and not to_stdout))


def print_plainly(thing: object, width: int) -> str:
    """A table as lines of text without colours."""
    console = _plain_console(width=width, no_color=True)
    with console.capture() as printed:
        console.print(thing)
    return printed.get().rstrip()


def _plain_console(**options: Any) -> Console:
    from rich.console import Console

    class PlainConsole(Console):
        """All strings come by here: what is printed, and the cells of tables."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(show_plainly(text), **options)

    return PlainConsole(highlight=False, markup=False, emoji=False, **options)


def show_status(console: Console, what: str) -> Status:
    """A spinner beside `what`, as long as the context is open; of ASCII where nothing else is."""
    from rich.text import Text

    spinner = "line" if console.options.ascii_only else "dots"
    return console.status(Text(f"{show_plainly(what)} ..."), spinner=spinner)


def say(text: str, *, always: bool = False) -> None:
    """Print a line to standard error, where it does not mix with results.

    It is progress, unless it is to be shown `always`: then a quiet command prints it too.
    """
    console = _plain_console(stderr=True) if always else make_console()
    console.print(text, soft_wrap=True)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something runs (a spinner on a terminal), and how long it took if that was long."""
    start = time.monotonic()
    with show_status(make_console(), what):
        yield
    spent = time.monotonic() - start
    if spent >= _WHILE or is_verbose():
        say(f"{what}: {spent:.1f} s")


def progress_bar(console: Console, window: float = 30.0) -> Progress:
    """A bar with counts, elapsed and remaining time, by the speed of the last `window` seconds."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=window,
    )


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar of how many of `total` are done (on a terminal); yields what tells it the number."""
    with progress_bar(make_console()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def following_labels(phase: str, total: int, done: int) -> Iterator[Teller]:
    """A bar of the labels of a phase; yields what tells it of each attempt (see `Teller`).

    What went wrong is printed too, even by a quiet command, and everything where no bar can be
    drawn or all is asked for.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = make_console()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(12),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[headway]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(phase, total=total, completed=done, headway="")

        def tell(count: int, news: str, headway: str, *, is_routine: bool) -> None:
            bar.update(task, completed=count, headway=headway)
            if is_routine and console.is_terminal and not is_verbose():
                return
            news = show_plainly(f"{phase} {count} of {total}: {news}", one_line=True)
            line = "; ".join(part for part in (news, headway) if part)
            if is_quiet() and not is_routine:
                say(line, always=True)
            else:
                console.print(line, soft_wrap=True)

        yield tell
