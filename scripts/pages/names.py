"""The reference of Python: every public name of a room with its signature and docstring.

Read from the source, never imported: so a page takes no torch, and shows types as they are written.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scripts.pages.docstrings import to_markdown

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"sdsearch": ROOT / "sdsearch", "sdsearch_eval": ROOT / "eval" / "sdsearch_eval"}
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = ast.ClassDef | _Function | ast.Assign | ast.AnnAssign


@dataclass(frozen=True, slots=True)
class Name:
    """A public name.

    Attributes:
        name: as a room exports it.
        code: its signature, or what a constant is.
        said: its docstring, or "".
        methods: of a class, the public ones.
    """

    name: str
    code: str
    said: str
    methods: tuple[Name, ...] = ()


def list_rooms() -> list[str]:
    """Dotted names of all rooms, the package itself first.

    >>> list_rooms()[:3]
    ['sdsearch', 'sdsearch.adapters', 'sdsearch.api']
    """
    rooms = ["sdsearch"]
    for package, home in PACKAGES.items():
        files = sorted(home.glob("*/__init__.py"))
        rooms += [f"{package}.{file.parent.name}" for file in files]
    return rooms


def list_names(room: str) -> list[Name]:
    """The public names of a room, in the order of its `__all__`.

    >>> [name.name for name in list_names("sdsearch.cli")]
    ['app']
    """
    for node in _tree(room).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [_describe(name, _find(room, name)) for name in ast.literal_eval(node.value)]
    raise ValueError(f"{room} must have an __all__, but has none")


def describe_room(room: str) -> str:
    """The page of a room."""
    parts = [f"# {room}", to_markdown(ast.get_docstring(_tree(room)) or "")]
    for name in list_names(room):
        parts += [f"## {name.name}", *_show(name)]
        for method in name.methods:
            parts += [f"### {name.name}.{method.name}", *_show(method)]
    return "\n\n".join(parts) + "\n"


def describe_rooms() -> str:
    """The page that lists the rooms, each with the first sentence about it."""
    head = "# Every public name of Python\n\nMade from docstrings, which `help(NAME)` prints.\n"
    rows = [
        f"- [`{room}`]({room}.md): {(ast.get_docstring(_tree(room)) or '').splitlines()[0]}"
        for room in list_rooms()
    ]
    return "\n".join([head, *rows, ""])


def _show(name: Name) -> list[str]:
    code = ["```python", name.code, "```"]
    return ["\n".join(code), *([to_markdown(name.said)] if name.said else [])]


@cache
def _tree(module: str) -> ast.Module:
    package, *parts = module.split(".")
    path = PACKAGES[package].joinpath(*parts)
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def _find(module: str, name: str) -> tuple[_Definition, str]:
    """The definition of a name, followed through imports, and its docstring.

    Raises:
        ValueError: no module of ours defines it.
    """
    found = _index(module).get(name)
    if found is None:
        raise ValueError(f"{name} must be defined or imported in {module}, but is not")
    return _find(*found) if isinstance(found[0], str) else found


@cache
def _index(module: str) -> dict[str, tuple[_Definition, str] | tuple[str, str]]:
    """What a module defines, and from where it has what it imports, also for types alone."""
    found: dict[str, tuple[_Definition, str] | tuple[str, str]] = {}
    bodies = [node.body for node in _tree(module).body if isinstance(node, ast.If)]
    for body in (*bodies, _tree(module).body):
        for place, node in enumerate(body):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    found[alias.asname or alias.name] = (node.module, alias.name)
            elif isinstance(node, ast.ClassDef | _Function):
                found[node.name] = (node, ast.get_docstring(node) or "")
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                said = _docstring_after(body, place)
                found |= dict.fromkeys(_targets(node), (node, said))
    return found


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
    nodes = [node for target in targets for node in ast.walk(target)]
    return [node.id for node in nodes if isinstance(node, ast.Name)]


def _docstring_after(body: list[ast.stmt], place: int) -> str:
    after = body[place + 1] if place + 1 < len(body) else None
    value = after.value if isinstance(after, ast.Expr) else None
    said = value.value if isinstance(value, ast.Constant) else None
    return said if isinstance(said, str) else ""


def _describe(name: str, found: tuple[_Definition, str]) -> Name:
    node, said = found
    if isinstance(node, ast.ClassDef):
        methods = [
            _describe(inner.name, (inner, ast.get_docstring(inner) or ""))
            for inner in node.body
            if isinstance(inner, _Function) and not inner.name.startswith("_")
        ]
        return Name(name, _class_code(node), said, tuple(methods))
    return Name(name, _signature(node) if isinstance(node, _Function) else _short(node), said)


def _signature(node: _Function) -> str:
    """A function's head, its properties and class methods marked."""
    marks = [f"@{ast.unparse(mark)}\n" for mark in node.decorator_list]
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    head = f"{node.name}({ast.unparse(node.args)}){result}"
    if len(head) > 90:
        lines = "".join(f"    {argument},\n" for argument in _arguments(node.args))
        head = f"{node.name}(\n{lines}){result}"
    return "".join(marks) + head


def _arguments(args: ast.arguments) -> list[str]:
    """Each argument as it is written, so that a long head may be broken."""
    plain = [*args.posonlyargs, *args.args]
    missing = len(plain) - len(args.defaults)
    shown = [
        _argument(arg, args.defaults[place - missing] if place >= missing else None)
        for place, arg in enumerate(plain)
    ]
    if args.vararg:
        shown.append(f"*{ast.unparse(args.vararg)}")
    elif args.kwonlyargs:
        shown.append("*")
    shown += [_argument(*pair) for pair in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return [*shown, f"**{ast.unparse(args.kwarg)}"] if args.kwarg else shown


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    sign = " = " if arg.annotation else "="
    return ast.unparse(arg) + (f"{sign}{ast.unparse(default)}" if default else "")


def _class_code(node: ast.ClassDef) -> str:
    """A class with its bases and public fields."""
    bases = f"({', '.join(ast.unparse(base) for base in node.bases)})" if node.bases else ""
    fields = [
        f"    {_short(inner)}"
        for inner in node.body
        if isinstance(inner, ast.AnnAssign) and not ast.unparse(inner.target).startswith("_")
    ]
    return "\n".join([f"class {node.name}{bases}", *fields])


def _short(node: ast.Assign | ast.AnnAssign) -> str:
    """A constant or a field on one line; a long value is left out."""
    code = ast.unparse(node)
    if len(code) <= 100 and "\n" not in code:
        return code
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    kind = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
    return f"{ast.unparse(target)}{kind} = ..."
