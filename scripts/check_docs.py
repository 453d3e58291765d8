"""Run every command of README.md and docs/ that is not proven elsewhere; say where the others are.

    scripts/check_docs        minutes on 2 cores, in a temporary folder; no network

A command is a line of a fenced `sh` block. ELSEWHERE names the test or the script that runs a line,
or says what it needs that is not here; all other lines are run, and a failing one is an error.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN_MODEL = "needs the user's own model; tests run it on tiny ones"
ELSEWHERE = {
    r"scripts/demo|sdsearch run study": "tests/stages/test_journey.py (slow) runs it all",
    r"scripts/test": "continuous integration runs it",
    r"scripts/check_docs": "this script",
    r"scripts/docs": "continuous integration runs it",
    r"python scripts/\w+\.py.*": "hours; what they wrote is committed",
    r"python -m benchmarks\.[\w.]+.*|pytest .*": "by hand; the page says what came of it",
    r"fidelity .*": "needs torch-fidelity and its weights",
    r"sdsearch check my-.*|sdsearch latency gpu.*": OWN_MODEL,
    r".*teacher (my-sd|runwayml/|assets/w).*": OWN_MODEL,
    r"sdsearch export .*--quantize .*": "tests/eval/runtimes/ (slow)",
    r"sdsearch export .*--(onnx|push).*": "tests/export/",
    r"sdsearch export .*--lora .*": "tests/adapters/",
    r"sdsearch app .*": "tests/browser/test_app_page.py (slow)",
    r"sdsearch bench( .*)?": "tests/replay/test_replay.py; the whole of it takes four minutes",
    r"sdsearch compare --pipelines .*": "tests/eval/pictures/test_side_by_side.py",
    r"sdsearch tune study.*": "tests/eval/jobs/test_tune.py",
    r"sdsearch recover study .*": "tests/eval/recovery/test_long.py (slow)",
    r"pip install .*": "continuous integration installs",
}
FIRST = (
    "sdsearch init study --macs-share 0.60",
    "sdsearch probe study",
    "sdsearch sample study",
    "sdsearch label study --import tiny",
    "sdsearch build study",
    "sdsearch label study",
    "sdsearch compare study",
    "sdsearch export study --design autobuild-1",
)


def main() -> int:
    """Run what is to be run; exit code 1 where a command fails or is not accounted for."""
    said = {}
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                command = line.split("  #")[0].split(" #")[0].strip()
                if command and not line.lstrip().startswith("#"):
                    said.setdefault(command, page.name)
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for command in FIRST:
            failed += run(command, folder, "before the pages")
        for command, page in said.items():
            known = [why for what, why in ELSEWHERE.items() if re.fullmatch(what, command)]
            if known:
                print(f"-- {page}: {command}: {known[0]}", flush=True)
            elif command not in FIRST:
                failed += run(command, folder, page)
    for command in failed:
        print(f"FAILED: {command}", file=sys.stderr)
    return 1 if failed else 0


def run(command: str, folder: str, page: str) -> list[str]:
    """Run one command in `folder`; the command itself where it fails."""
    print(f"== {page}: {command}", flush=True)
    line = shlex.split(command)
    line[0] = str(Path(sys.executable).parent / line[0])
    done = subprocess.run(line, cwd=folder, stdout=subprocess.DEVNULL, check=False)
    return [command] if done.returncode else []


if __name__ == "__main__":
    sys.exit(main())
