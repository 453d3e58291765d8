"""The cap with a fake torch.cuda, imported by processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from benchmarks.pretended_card import CAP, LOG, OUTSIDE, read_log, write_site

if TYPE_CHECKING:
    from pathlib import Path

FAKE = """
TOTAL = 80_000_000_000
calls, begun, fraction = [], False, {}
stats = dict.fromkeys(
    ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_ooms", "num_alloc_retries"), 0
)
class OutOfMemoryError(RuntimeError): ...
class Properties: total_memory = TOTAL
def _lazy_call(call): call() if begun else calls.append(call)
def init():
    global begun
    for call in calls: call()
    begun = True
def mem_get_info(device=None): return TOTAL - 600_000_000, TOTAL
def memory_reserved(device=None): return 1_000_000_000
def device_count(): return 2
def get_device_properties(device): return Properties
def set_per_process_memory_fraction(share, device=None): fraction[device] = share
def memory_stats(): return dict(stats) if begun else {}
"""


def run(
    folder: Path, code: str, cap: str = "8000000000", hidden: str = ""
) -> subprocess.CompletedProcess[str]:
    cuda = folder / "fake" / "torch" / "cuda"
    cuda.mkdir(parents=True)
    (cuda.parent / "__init__.py").write_text("from torch import cuda\n", encoding="utf-8")
    (cuda / "__init__.py").write_text(FAKE, encoding="utf-8")
    if hidden:
        (folder / "fake" / "sitecustomize.py").write_text(hidden, encoding="utf-8")
    (folder / "log").mkdir()
    path = f"{write_site(folder / 'site')}{os.pathsep}{folder / 'fake'}"
    said = {"PYTHONPATH": path, OUTSIDE: "500000000", CAP: cap, LOG: str(folder / "log")}
    words = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        words, env={**os.environ, **said}, capture_output=True, text=True, timeout=60
    )


def test_a_process_is_told_of_the_small_card_and_kept_within_it(tmp_path: Path) -> None:
    code = """
    import sys, time
    assert "torch" not in sys.modules
    import torch
    torch.cuda.init()
    print(torch.cuda.mem_get_info(), torch.cuda.fraction)
    torch.cuda.stats["reserved_bytes.all.peak"] = 7
    torch.cuda.stats["num_ooms"] = 2
    time.sleep(0.5)
    """
    done = run(tmp_path, code)
    # The fraction is of the whole card, and leaves out what a process takes beside its tensors.
    assert done.stdout.strip() == "(6500000000, 8000000000) {0: 0.09375, 1: 0.09375}", done.stderr
    seen = read_log(tmp_path / "log")
    assert (seen["reserved"], seen["refused"], seen["limit"]) == (7, 2, 7_500_000_000)


def test_what_a_killed_process_took_is_known(tmp_path: Path) -> None:
    code = """
    import os, signal, time, torch
    torch.cuda.init()
    torch.cuda.stats["reserved_bytes.all.peak"] = 9
    time.sleep(0.6)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    run(tmp_path, code)
    assert read_log(tmp_path / "log")["reserved"] == 9


def test_without_a_cap_a_card_is_only_watched(tmp_path: Path) -> None:
    code = "import torch; torch.cuda.init(); print(torch.cuda.mem_get_info(), torch.cuda.fraction)"
    assert run(tmp_path, code, cap="").stdout.strip() == "(79400000000, 80000000000) {}"


def test_a_process_that_never_begins_cuda_is_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "import torch; print(torch.cuda.fraction)")
    assert done.stdout.strip() == "{}"
    assert read_log(tmp_path / "log") == {}


def test_the_sitecustomize_that_is_hidden_still_runs(tmp_path: Path) -> None:
    code, hidden = "import builtins; print(builtins.seen)", "import builtins; builtins.seen = 1"
    assert run(tmp_path, code, hidden=hidden).stdout.strip() == "1"
