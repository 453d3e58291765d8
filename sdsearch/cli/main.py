"""The command line: a thin shell over the public interface; everything heavy loads inside."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sdsearch.cli.bench import bench
from sdsearch.cli.compare import ManyValues, compare
from sdsearch.cli.export import export
from sdsearch.cli.init import init
from sdsearch.cli.label import label
from sdsearch.cli.options import Quiet, Verbose, with_verbosity
from sdsearch.cli.search import build, fit, probe, sample, score
from sdsearch.cli.study import plan, recover, report, run, serve_app, tune
from sdsearch.cli.tools import check, latency, space
from sdsearch.console import speaking
from sdsearch.harness import safe_paths
from sdsearch.shell import STOPPED, open_streams, run_command

if TYPE_CHECKING:
    from collections.abc import Callable

_HELP = """Make a Stable Diffusion model smaller and faster.

sdsearch removes blocks from the UNet of an SD 1.x or 2.x model, measures how
much quality that costs on your images, and exports the best model within your
budget as an ordinary diffusers pipeline.

\b
Get started:
  sdsearch init study --macs-share 0.6   create a study: 60 % of the compute
  sdsearch run study                     run all steps; run it again to resume

Exit codes: 0 success, 1 error while running, 2 wrong usage or input, 130 stopped by Ctrl-C.
"""
_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start a study": (init, check, plan),
    "Run it": (run,),
    "The steps of a run, one by one": (
        *(tune, probe, sample, label, fit, score, build, compare, export, report),
    ),
    "Use the results": (recover, serve_app),
    "Without a study": (space, latency, bench),
}
"""The commands in the order of a study."""


class GroupedCommands(TyperGroup):
    """Lists its commands by group, each with its whole summary."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section for each group."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            summary = " ".join(str(command.help).split("\n\n")[0].split())
            rows.setdefault(command.rich_help_panel, []).append((name, summary))
        width = max(len(name) for section in rows.values() for name, _ in section)
        for title, section in rows.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), summary) for name, summary in section])


app = typer.Typer(
    cls=GroupedCommands,
    help=_HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _title, _commands in _GROUPS.items():
    for _command in _commands:
        _name = "app" if _command is serve_app else None
        _class = ManyValues if _command is compare else None
        app.command(_name, cls=_class, rich_help_panel=_title)(with_verbosity(_command))


def _print_version(*, asked: bool) -> None:
    if asked:
        import sdsearch

        print(f"sdsearch {sdsearch.__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _print_version(asked=asked),
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Options of all commands; `-q` and `-v` may also follow the command."""
    if quiet and verbose:
        raise typer.BadParameter("--quiet and --verbose cannot be combined")
    ctx.with_resource(speaking("quiet" if quiet else "verbose" if verbose else None))


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
