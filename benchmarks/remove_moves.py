"""Delete every move between devices in the harness, one at a time, and see a test fail.

python -m benchmarks.remove_moves [--every N] [--first N] works on a copy of the checkout and runs
the tests on a pretended GPU after each deletion. Printed: a line for each move, with the first test
that failed; the exit code is 1 if all tests passed without some move.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
HARNESS = Path("eval") / "sdsearch_eval"
UNMOVED = ("planning", "counting", "devices.py")
"""What only counts, or moves for others: each caller's call is deleted instead."""
TESTS = Path("tests") / "eval"


@dataclass(frozen=True, slots=True)
class Move:
    """A call that moves something, and the text that stays of it when it does not."""

    file: Path
    line: int
    call: str
    start: int
    end: int
    left: str

    def delete(self, root: Path) -> None:
        """Write the file without the move."""
        path = root / self.file
        text = path.read_bytes()
        path.write_bytes(text[: self.start] + self.left.encode() + text[self.end :])


def find_moves(root: Path) -> Iterator[Move]:
    """Every `.to(device)`, `.cpu()`, `place_net`, `place_tensors` and `device=` of the harness."""
    for path in sorted((root / HARNESS).rglob("*.py")):
        file = path.relative_to(root)
        if file.relative_to(HARNESS).parts[0] not in UNMOVED:
            yield from _moves_in(path.read_text(encoding="utf-8"), file)


def _moves_in(text: str, file: Path) -> Iterator[Move]:
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        left = _without_move(node)
        if left is not None:
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            yield Move(
                file,
                node.lineno,
                ast.unparse(node),
                starts[node.lineno - 1] + node.col_offset,
                starts[node.end_lineno - 1] + node.end_col_offset,
                left,
            )


def _without_move(call: ast.Call) -> str | None:
    """The source of a call without its move; None where it moves nothing."""
    match call.func:
        case ast.Attribute(value=inner, attr="cpu") if not call.args:
            return ast.unparse(inner)
        case ast.Attribute(value=inner, attr="to") if call.args and _is_device(call.args[0]):
            rest = ast.Call(call.func, call.args[1:], call.keywords)
            return ast.unparse(rest if call.args[1:] or call.keywords else inner)
        case ast.Name(id="place_net" | "place_tensors"):
            return ast.unparse(call.args[0])
        case ast.Attribute(value=ast.Name(id="torch")):
            kept = [keyword for keyword in call.keywords if keyword.arg != "device"]
            if len(kept) < len(call.keywords):
                return ast.unparse(ast.Call(call.func, call.args, kept))
    return None


def _is_device(node: ast.expr) -> bool:
    return ast.unparse(node).endswith("device")


def first_failure(root: Path, room: str) -> str | None:
    """The first test that fails in a checkout, those of a room before others; None if all pass."""
    own = [TESTS / room] if (root / TESTS / room).is_dir() else []
    chosen = [str(place) for place in (*own, TESTS / "test_devices.py", TESTS)]
    named = ["-m", "", "-k", "gpu or device or waits"]
    line = [sys.executable, "-m", "pytest", "-q", "-x", *named, *chosen]
    path = os.pathsep.join([str(root), str(root / "eval")])
    done = subprocess.run(
        line,
        cwd=root,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else done.stdout.strip().splitlines()[-1]


def main() -> int:
    """Try all moves, or each N-th."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first one, from 0")
    given = parser.parse_args()
    survivors = 0
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "checkout"
        shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(".*"))
        moves = list(find_moves(root))
        chosen = moves[given.first :: given.every]
        for move in chosen:
            whole = (root / move.file).read_bytes()
            move.delete(root)
            failure = first_failure(root, move.file.relative_to(HARNESS).parts[0])
            (root / move.file).write_bytes(whole)
            survivors += failure is None
            print(f"{move.file}:{move.line}: {move.call}: {failure or 'ALL PASSED'}", flush=True)
        print(f"{len(chosen)} of {len(moves)} moves deleted, {survivors} unnoticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
