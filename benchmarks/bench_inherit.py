"""How long inheriting takes against reading the same bytes, and how much memory it needs.

    python benchmarks/bench_inherit.py [--dtype float32] [--repeats 3] [--member teacher]

Writes an SD v1.4-shaped UNet of random weights to a temporary folder (3.4 GB in float32), deleted
at the end. Yardstick: each tensor read with safetensors and copied. Both sides run in processes of
their own, in turn, on a file in the page cache; the best of the repeats counts. Peak memory is the
growth of the process's resident set after the libraries are loaded; mapped pages of a file count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file

from sdsearch.space import search_space
from sdsearch.unet import SD14, UNPRUNED, unet_config
from sdsearch.weights import TensorFiles, inherit_weights, make_unet, trace_weights

GIB = 1 << 30
MOST_TIME, MOST_MEMORY = 1.2, 1.1


def resident_bytes() -> int:
    """Resident memory of this process, mapped files included."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


class Peak:
    """The largest resident set within a `with` block, sampled every 2 ms."""

    def __enter__(self) -> Peak:
        self.before = self.largest = resident_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.growth = max(self.largest, resident_bytes()) - self.before

    def _watch(self) -> None:
        while not self._done.wait(0.002):
            self.largest = max(self.largest, resident_bytes())


def write_teacher(path: Path, dtype: torch.dtype) -> int:
    """Write random weights of the unpruned UNet; return the bytes of its largest tensor."""
    shapes = unpruned_shapes()
    generator = torch.Generator().manual_seed(0)
    save_file({n: torch.rand(s, generator=generator).to(dtype) for n, s in shapes.items()}, path)
    return max(shape.numel() for shape in shapes.values()) * dtype.itemsize


def unpruned_shapes() -> dict[str, torch.Size]:
    """The shapes of the unpruned UNet's tensors, by name."""
    with torch.device("meta"):
        config = unet_config(UNPRUNED, SD14)
        unet = UNet2DConditionModel.from_config(config)
    return {name: tensor.shape for name, tensor in unet.state_dict().items()}


def read_and_copy(path: Path, names: set[str]) -> dict[str, torch.Tensor]:
    """The yardstick: every tensor of the student read with the library and copied."""
    copies = {}
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            if name in names:
                copies[name] = file.get_tensor(name).to(torch.float32, copy=True)
    return copies


def measure(what: str, path: Path, member: str) -> dict[str, float]:
    """Time and memory of one side in this process."""
    arch = search_space("sd14").members[member]
    make_unet(arch, SD14)
    names = {source.tensor for source in trace_weights(arch, SD14).values() if source.tensor}
    with Peak() as peak:
        start = time.perf_counter()
        if what == "inherit":
            made = inherit_weights(arch, SD14, TensorFiles(path)).state_dict()
        else:
            made = read_and_copy(path, names)
        seconds = time.perf_counter() - start
    student = sum(tensor.numel() * tensor.itemsize for tensor in made.values())
    return {"seconds": seconds, "growth": peak.growth, "student": student}


def main() -> None:
    """Measure both sides in turn and print the ratio and the peak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--member", default="teacher")
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        side, file = given.measure
        print(json.dumps(measure(side, Path(file), given.member)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.safetensors"
        largest = write_teacher(path, getattr(torch, given.dtype))
        rows: dict[str, list[dict[str, float]]] = {"read": [], "inherit": []}
        for _ in range(given.repeats):
            for side, found in rows.items():
                command = [sys.executable, __file__, "--member", given.member]
                done = subprocess.run(
                    [*command, "--measure", side, str(path)], check=True, capture_output=True
                )
                found.append(json.loads(done.stdout))
    report(rows, largest)


def report(rows: dict[str, list[dict[str, float]]], largest: int) -> None:
    """Print the numbers; exit 1 where a limit is passed."""
    read, ours = (min(row["seconds"] for row in rows[side]) for side in ("read", "inherit"))
    growth = max(row["growth"] for row in rows["inherit"])
    allowed = rows["inherit"][0]["student"] + largest
    print(f"read and copy   {read:6.2f} s")
    print(f"build and fill  {ours:6.2f} s   ratio {ours / read:.2f} (at most {MOST_TIME})")
    print(
        f"peak memory     {growth / GIB:6.2f} GiB of student + largest tensor = "
        f"{allowed / GIB:.2f} GiB, ratio {growth / allowed:.3f} (at most {MOST_MEMORY})"
    )
    if ours > MOST_TIME * read or growth > MOST_MEMORY * allowed:
        sys.exit(1)


if __name__ == "__main__":
    main()
