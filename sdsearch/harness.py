"""Starting the harness, always in processes of its own: the package never imports it.

A request travels as a JSON file whose path is the harness's only argument, so that every process
of a job can read it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sdsearch.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Request(Protocol):
    """A request of `sdsearch.study.requests`."""

    @property
    def command(self) -> str:
        """The harness's command."""

    def model_dump_json(self) -> str:
        """The request as JSON."""


def run_harness(request: Request, processes: int = 1) -> None:
    """Have the harness do what a request asks for; it shows its own progress and errors.

    Raises:
        HarnessError: it ended badly, and has said why.
    """
    with written(request) as file:
        code = subprocess.run(harness_line(file, processes), check=False).returncode
    if code:
        raise HarnessError(request.command, code)


@contextmanager
def written(request: Request) -> Iterator[Path]:
    """A file that holds a request as long as the context is open."""
    with tempfile.TemporaryDirectory(prefix="sdsearch-") as folder:
        file = Path(folder) / "request.json"
        file.write_text(request.model_dump_json(), encoding="utf-8")
        yield file


def harness_line(request: Path, processes: int = 1) -> list[str]:
    """The command line of a harness job; torchrun starts it where it has several processes."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    return [
        sys.executable,
        "-m",
        *(launcher if processes > 1 else ()),
        "sdsearch_eval",
        str(request),
    ]
