"""The pages of `full_size_gpu`: every part as a Markdown table, all of them in one JSON file."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
import traceback
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from sdsearch.errors import InputError, WorkError
from sdsearch.unet import UNPRUNED, count_macs, count_params
from sdsearch_eval.devices import name_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from benchmarks.ceilings import Ceiling
    from benchmarks.device_watch import Seen
    from benchmarks.label_limit import LabelCosts, Limit
    from benchmarks.random_study import Geometry
    from sdsearch.unet import Architecture

T = TypeVar("T")
_FAILURES = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError),
    *(RuntimeError, TypeError, ValueError, InputError, WorkError),
)
"""A part that fails takes no other with it: the next run may be days away."""


@dataclass(slots=True)
class Report:
    """Parts that are printed and kept as soon as they are there; one that fails is kept so."""

    file: Path | None
    parts: dict[str, Any] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    def add(self, title: str, work: Callable[[], T], show: Callable[[T], str]) -> T | None:
        """Do the work of a part and show it; None where it failed."""
        start = time.perf_counter()
        try:
            found = work()
        except _FAILURES as error:
            traceback.print_exc()
            self.failed.append(title)
            self.parts[title] = {"failed": f"{type(error).__name__}: {error}"}
            print(f"\n## {title}\n\nfailed: {error}", flush=True)
            return None
        finally:
            self.parts.setdefault("seconds", {})[title] = round(time.perf_counter() - start, 1)
            self._keep()
        self.parts[title] = _plain(found)
        self._keep()
        spent = self.parts["seconds"][title]
        print(f"\n## {title}\n\n{show(found)}\n\n*{spent} s*", flush=True)
        return found

    def _keep(self) -> None:
        if self.file is not None:
            self.file.write_text(json.dumps(self.parts, indent=2) + "\n", encoding="utf-8")


def describe_machine(device: torch.device) -> dict[str, str]:
    """The device with its memory and driver, and the software that uses it."""
    found = {"device": name_device(device)}
    if device.type == "cuda":
        found["memory"] = _gb(torch.cuda.mem_get_info(device)[1])
        found["driver"] = _ask_driver()
        found["CUDA"], found["cuDNN"] = str(torch.version.cuda), str(torch.backends.cudnn.version())
    names = ("torch", "diffusers", "transformers", "accelerate", "torchmetrics", "numpy")
    return {
        **found,
        "processors": str(os.cpu_count()),
        "Python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def describe_design(arch: Architecture, geometry: Geometry) -> dict[str, str]:
    """The measured design beside its teacher."""
    size = (geometry.latent, geometry.latent)

    def costs(one: Architecture) -> tuple[int, int]:
        macs = count_macs(one, geometry.backbone, size, geometry.tokens)
        return count_params(one, geometry.backbone), macs.total

    (params, macs), (all_params, all_macs) = costs(arch), costs(UNPRUNED)
    return {
        "design": f"{arch.key}: {arch}",
        "parameters": f"{params:,} ({params / all_params:.1%} of the teacher's)",
        "multiply-accumulates of a call": f"{macs / 1e9:.2f} G ({macs / all_macs:.1%})",
    }


def show_facts(facts: dict[str, str]) -> str:
    """Names and what they are."""
    return _table(("what", "is"), facts.items())


def show_ceilings(ceilings: Sequence[Ceiling]) -> str:
    """Rates and peaks, a row for each kind of call, a column for each precision."""
    precisions = list(dict.fromkeys(one.precision for one in ceilings))
    rows: dict[str, dict[str, str]] = {}
    for one in ceilings:
        said = "out of memory" if one.per_second is None else f"{one.per_second:.1f}/s"
        peak = "" if one.peak is None else f", {_gb(one.peak)}"
        rows.setdefault(f"{one.what}, batch {one.batch}", {})[one.precision] = said + peak
    return _table(
        ("samples a second, peak", *precisions),
        ([what, *(row.get(name, "") for name in precisions)] for what, row in rows.items()),
    )


def show_costs(costs: LabelCosts) -> str:
    """A label by phases, and beside it what labels share."""
    rest = costs.seconds - sum(costs.phases.values())
    lessons = "" if costs.lessons is None else f", {costs.lessons:.1f} of them for the lessons"
    peak = "not counted by the device" if costs.peak is None else _gb(costs.peak)
    rows = [
        *((name, f"{seconds:.1f}") for name, seconds in costs.phases.items()),
        ("weights, files, messages", f"{rest:.1f}"),
        ("**one label**", f"**{costs.seconds:.1f}**"),
        ("before it, shared by all labels", f"{costs.preparation:.1f}{lessons}"),
    ]
    return (
        f"{_table(('phase', 'seconds'), rows)}\n\nOn {costs.device}; peak of its memory: {peak}; "
        f"samples repeated in float32: {costs.repeated:.0%}."
    )


def show_limit(limit: Limit) -> str:
    """The least that a label could take, part by part."""
    rows = [(name, f"{seconds:.1f}") for name, seconds in asdict(limit).items()]
    return _table(("limit by the rates above", "seconds"), [*rows, ("all", f"{limit.seconds:.1f}")])


def show_devices(seen: Sequence[Seen]) -> str:
    """Where the operations of each module ran."""
    table = _table(
        ("module", "device", "operations", "MB written"),
        ((one.module, one.device, str(one.operations), f"{one.bytes / 1e6:.2f}") for one in seen),
    )
    return f"A label of the embedded model; NumPy computes on the processor, unseen.\n\n{table}"


def _ask_driver() -> str:
    """The driver's version by nvidia-smi, where there is one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "not told: there is no nvidia-smi"
    asked = [tool, "--query-gpu=driver_version,power.limit", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else done.stderr.strip()


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _table(head: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
