"""Starting the harness, always in processes of its own: the package never imports it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from sdsearch.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path


def run_harness(command: str, target: Path | None, *arguments: str, processes: int = 1) -> None:
    """Run `python -m sdsearch_eval COMMAND TARGET ...`, which shows its progress and errors."""
    line = harness_line(command, target, *arguments, processes=processes)
    code = subprocess.run(line, check=False).returncode
    if code:
        raise HarnessError(command, code)


def harness_line(
    command: str, target: Path | None, *arguments: str, processes: int = 1
) -> list[str]:
    """The command line of a harness job; torchrun starts it where it has several processes."""
    line = [sys.executable, "-m"]
    if processes > 1:
        line += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        arguments = (*arguments, "--processes", str(processes))
    return [*line, "sdsearch_eval", command, *([str(target)] if target else []), *arguments]
