"""A card of less memory, pretended to every Python process that finds this on its path.

`write_site` puts a copy of this file, as `sitecustomize.py`, into a folder. Processes that are
started with that folder first on PYTHONPATH, and all that they start with the same environment,
then wait for torch.cuda to be imported; they import nothing of torch themselves, and where CUDA is
never begun nothing else happens. Once it is begun:

- `torch.cuda.mem_get_info` says that the card has CAP bytes, and no more of them free than are
  left of CAP;
- torch's allocator raises `torch.OutOfMemoryError` above CAP less OUTSIDE, by
  `torch.cuda.set_per_process_memory_fraction`;
- LOG/<process>.json says what the process took, five times a second: also of one that is killed.

OUTSIDE is what a process takes beside torch's allocator, for the driver's context: a small card
would have to hold that too. Without CAP the card stays as it is and is only watched.

What is not pretended: a small card's speed, its own kernels and their workspaces; what the driver
itself, asked from C++, says of free memory. **Each process has the whole cap**: two that compute at
once may take twice as much. `sdsearch label` and `sdsearch recover` compute in one process.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import sys
import threading
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec

CAP, OUTSIDE, LOG = "PRETENDED_CARD_BYTES", "PRETENDED_CARD_OUTSIDE", "PRETENDED_CARD_LOG"
"""Environment variables: bytes, bytes, and the folder of what was seen, which switches it on."""
_LOOK = 0.2
_SEEN = {
    "allocated": "allocated_bytes.all.peak",
    "reserved": "reserved_bytes.all.peak",
    "refused": "num_ooms",
    "retried": "num_alloc_retries",
}
"""Most bytes of tensors; most that the allocator held of the device; how often it refused memory,
and how often it gave some back first."""


def write_site(folder: Path) -> Path:
    """Make a folder that is to be first on PYTHONPATH."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(__file__, folder / "sitecustomize.py")
    return folder


def read_log(folder: Path) -> dict[str, int]:
    """The most of everything over all processes; {} where none computed on a GPU."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return {name: max(one[name] for one in found) for name in (*_SEEN, "limit") if found}


class _Hook(MetaPathFinder):
    """Changes torch.cuda as soon as it was imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: Any = None
    ) -> ModuleSpec | None:
        """None for all modules but one, which is found as it always is."""
        if fullname != "torch.cuda":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_change(module: Any) -> None:
            execute(module)
            change_card(module)

        spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


def change_card(cuda: Any) -> None:
    """Pretend the card of the environment; `cuda` is the module torch.cuda, not begun yet."""
    cap, outside = (int(os.environ.get(name) or 0) for name in (CAP, OUTSIDE))
    if cap:
        ask = cuda.mem_get_info

        def mem_get_info(device: Any = None) -> tuple[int, int]:
            free, total = ask(device)
            whole = min(cap, total)
            left = whole - outside - int(cuda.memory_reserved(device))
            return max(0, min(free, left)), whole

        cuda.mem_get_info = mem_get_info
        if hasattr(cuda, "memory"):
            cuda.memory.mem_get_info = mem_get_info
    cuda._lazy_call(lambda: _begin(cuda, cap - outside if cap else 0))


def _begin(cuda: Any, limit: int) -> None:
    """Limit the allocator of every device, and watch that of the first."""
    total = cuda.get_device_properties(0).total_memory
    if limit:
        for device in range(cuda.device_count()):
            size = cuda.get_device_properties(device).total_memory
            cuda.set_per_process_memory_fraction(min(1.0, limit / size), device)
    file = Path(os.environ[LOG]) / f"{os.getpid()}.json"
    ended = threading.Event()
    watcher = threading.Thread(
        target=_watch, args=(cuda, file, min(limit or total, total), ended), daemon=True
    )
    watcher.start()
    atexit.register(watcher.join)  # called last: a thread that outlives Python may abort it
    atexit.register(ended.set)


def _watch(cuda: Any, file: Path, limit: int, ended: threading.Event) -> None:
    """Write what the allocator says whenever it is more than before; peaks may be reset."""
    known = {"limit": limit, **dict.fromkeys(_SEEN, 0)}
    is_last = False
    while not is_last:
        is_last = ended.wait(_LOOK)
        stats = cuda.memory_stats()
        now = {name: max(known[name], int(stats.get(said, 0))) for name, said in _SEEN.items()}
        if any(now[name] > known[name] for name in now):
            known |= now
            beside = file.with_suffix(".tmp")
            beside.write_text(json.dumps(known), encoding="utf-8")
            beside.replace(file)


def _run_hidden() -> None:
    """Run the sitecustomize that this one hides, where the system or the user has one."""
    here = Path(__file__).resolve().parent
    others = [folder for folder in sys.path if folder and Path(folder).resolve() != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        with suppress(ImportError):
            spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    if os.environ.get(LOG):
        sys.meta_path.insert(0, _Hook())
    _run_hidden()
