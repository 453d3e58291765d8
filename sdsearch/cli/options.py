"""What commands share: the study's folder, the common options, printing words and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from sdsearch.shell import show_plainly

Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="The study folder.")]
STUDY = Path("study")
"""The study folder where none is given."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Teacher = Annotated[
    str | None, typer.Option(help="tiny, sd14, sd2, ..., a pipeline folder or a hub id.")
]


def show(what: object, *, one_line: bool = False) -> None:
    """Print words on standard output; what in them would steer a terminal is an escape."""
    print(show_plainly(str(what), one_line=one_line))


def print_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2, allow_nan=False))
