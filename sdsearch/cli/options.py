"""What commands share: their study, their common options, printing words and JSON."""

from __future__ import annotations

import functools
import inspect
import json
import os
import sys
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdsearch.console import say, speaking
from sdsearch.shell import show_plainly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

    from sdsearch import Study

Folder = Annotated[
    Path | None,
    typer.Argument(
        metavar="STUDY",
        help="The study's folder. Default: the current folder or the nearest one above it that "
        "is a study, or else ./study.",
    ),
]
STUDY = Path("study")
"""The study folder where none is given and none is found."""
Json = Annotated[bool, typer.Option("--json", help="Output JSON.")]
Teacher = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="tiny, sd14, sd2, ..., a pipeline folder or a Hub id."),
]
Processes = Annotated[
    int, typer.Option(min=1, metavar="N", help="Number of GPUs; torchrun starts a process on each.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print results and errors only, no progress.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Also print each measurement and every quick step.")
]


def with_verbosity(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the options `--quiet` and `--verbose`.

    Raises:
        BadParameter: both are given.
    """

    @functools.wraps(command)
    def wrapped(*, quiet: bool, verbose: bool, **options: Any) -> None:
        if quiet and verbose:
            raise typer.BadParameter("--quiet and --verbose cannot be combined")
        with speaking("quiet" if quiet else "verbose" if verbose else None):
            command(**options)

    said = inspect.signature(command, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", Quiet), ("verbose", Verbose))
    ]
    parameters = [*said.parameters.values(), *added]
    wrapped.__signature__ = said.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


def open_given(study: Path | None) -> Study:
    """The study that a command works on, loaded.

    Raises:
        InputError: as `locate_study`, or there is no valid study.toml.
    """
    import sdsearch

    return sdsearch.load_study(locate_study(study))


def locate_study(given: Path | None) -> Path:
    """The folder of a command's study: the one given, or the nearest from here upwards.

    Git finds its repository in the same way. A folder found above is named on standard error.

    Raises:
        InputError: none is given, and there is none, or it could be either of two.
    """
    from sdsearch.errors import InputError

    if given is not None:
        return given
    here = Path.cwd()
    found = next((folder for folder in (here, *here.parents) if _is_study(folder)), None)
    if _is_study(STUDY):
        if found == here:
            raise InputError(
                f"both the current folder and ./{STUDY} are studies; name the one that you mean: "
                f". or {STUDY}"
            )
        return STUDY
    if found is None:
        raise InputError(
            f"neither the current folder nor one above it is a study, and there is no ./{STUDY}; "
            "name the study's folder, or create one: sdsearch init"
        )
    say(f"study: {found}")
    return Path(os.path.relpath(found))


def _is_study(folder: Path) -> bool:
    return os.path.isfile(folder / "study.toml")  # False, too, where we may not look


@contextmanager
def words_apart(*, as_json: bool) -> Iterator[None]:
    """Where JSON is asked for, what is printed meanwhile goes to standard error.

    That of other processes too, which print to the same file.
    """
    if not as_json:
        yield
        return
    with ExitStack() as stack:
        with suppress(OSError):  # of output that is closed
            kept = os.dup(1)
            stack.callback(os.close, kept)
            stack.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        stack.enter_context(redirect_stdout(sys.stderr))
        yield


def show(what: object, *, one_line: bool = False) -> None:
    """Print words on standard output; what in them would steer a terminal is an escape."""
    print(show_plainly(str(what), one_line=one_line))


def print_result(value: BaseModel) -> None:
    """Print a value as JSON on standard output."""
    print_json(value.model_dump(mode="json"))


def print_json(value: object) -> None:
    """Print what `model_dump` makes, or several of it, as JSON on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))
