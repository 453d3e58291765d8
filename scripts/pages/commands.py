"""The reference of the command line: every command with its options, from what typer knows."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from scripts.pages.docstrings import escape, to_markdown
from sdsearch.cli.main import app

HEAD = """\
# Every command

*Made from the code by `python scripts/make_reference.py`.*

`sdsearch COMMAND --help` prints the same.
"""


def describe_commands() -> str:
    """The page: what `sdsearch` says of itself, then each command in the order of its help.

    >>> "## sdsearch label" in describe_commands()
    True
    """
    whole = get_command(app)
    commands: dict[str, Any] = getattr(whole, "commands", {})
    parts = [HEAD, to_markdown(whole.help or ""), ""]
    for name, command in commands.items():
        if not command.hidden:
            parts += [f"## sdsearch {name}", "", _describe(name, command), ""]
    return "\n".join(parts)


def _describe(name: str, command: Any) -> str:
    """Usage, help and a table of one command."""
    shown = [param for param in command.params if not getattr(param, "hidden", False)]
    words = ["sdsearch", name]
    words += [_usage(param) for param in shown if param.param_type_name == "argument"]
    words += ["[OPTIONS]"] if len(words) - 2 < len(shown) else []
    rows = [f"| `{_spell(param)}` | {_say(param)} | {_default(param)} |" for param in shown]
    table = ["| option | meaning | default |", "|---|---|---|", *rows] if rows else []
    return "\n".join(
        ["```text", " ".join(words), "```", "", to_markdown(command.help or ""), "", *table]
    )


def _usage(param: Any) -> str:
    name = param.metavar or param.name.upper()
    return name if param.required else f"[{name}]"


def _spell(param: Any) -> str:
    """As it is typed: a flag alone, another option with what follows it."""
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    value = "" if param.is_flag else f" {param.metavar or param.name.upper()}"
    return " / ".join([*param.opts, *param.secondary_opts]) + value


def _say(param: Any) -> str:
    said = escape(" ".join((param.help or "").split()))
    return said.replace("|", "\\|") + (" May be repeated." if param.multiple else "")


def _default(param: Any) -> str:
    if param.required:
        return "needed"
    if param.default is None or param.default is False or param.default in ("", (), []):
        return ""
    return f"`{param.default}`"
