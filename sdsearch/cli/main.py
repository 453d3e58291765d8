"""The command line: a thin shell over the public interface; everything heavy loads inside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from sdsearch.cli.bench import bench
from sdsearch.cli.compare import ManyValues, compare
from sdsearch.cli.export import export
from sdsearch.cli.label import label
from sdsearch.cli.search import build, fit, probe, sample, score
from sdsearch.cli.study import init, plan, recover, report, run, serve_app, tune
from sdsearch.cli.tools import check, latency, space
from sdsearch.harness import safe_paths
from sdsearch.shell import STOPPED, open_streams, run_command

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = """Specialize a Stable Diffusion v1.4-family UNet under a budget.

It inpaints, or paints from words, as the one that it is made of.

\b
Three complete commands:
  sdsearch init study --share 0.60     a study of the tiny model, 60 % of its parameters
  sdsearch run study                   the whole journey; killed anywhere, it resumes
  sdsearch space --space sd14 --json   size and named members of a search space

Exit codes: 0 done, 2 bad input, 1 failed work, 130 stopped by Ctrl-C.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, add_completion=False, rich_markup_mode=None)
_COMMANDS: tuple[Callable[..., None], ...] = (
    *(init, plan, probe, run, tune, sample, label, fit, score, build, recover, export, report),
    *(space, check, latency, bench),
)
for command in _COMMANDS:
    app.command()(command)
app.command(cls=ManyValues)(compare)
app.command(name="app")(serve_app)


def main() -> None:
    """Run the command line; it ends in an exit code and at most a line, never in a traceback."""
    open_streams()
    with safe_paths():
        sys.exit(run_command(_run_app))


def _run_app() -> int:
    try:
        app()
    except SystemExit as ended:
        if ended.code == STOPPED:  # the parser has caught Ctrl-C and says nothing of it
            raise KeyboardInterrupt from None
        return int(ended.code or 0)
    return 0


if __name__ == "__main__":
    main()
