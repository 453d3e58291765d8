"""Measuring: every runtime of an export by the protocol of its labels, on the same samples.

First all are timed, round after round, so that other work on the machine meets all alike, and the
calmest round of each counts; then each paints all samples. Everything is measured on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sdsearch.errors import InputError
from sdsearch.keys import content_key, file_sha256
from sdsearch.labels import ONNX, ONNX_INT8, TORCH, TORCHAO, Runtime, RuntimeTable
from sdsearch.runtimes import (
    WHY_NO_TORCHAO,
    count_stored,
    has_torchao,
    quantize_unet,
    quantize_weights,
    rank_parts,
)
from sdsearch_eval.bench import Shards, summarize_rows
from sdsearch_eval.bench.rows import measure_rows
from sdsearch_eval.devices import HOST, added_memory
from sdsearch_eval.runtimes.calibration import pose_questions
from sdsearch_eval.runtimes.nets import OnnxUNet, open_torch
from sdsearch_eval.sampling import NotFiniteError, generate, measure_latency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import nn

    from sdsearch.labels import Latency, Measurement
    from sdsearch_eval.bench import Bench

ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A runtime before it is measured: how it is opened, and which files it is stored in.

    Where `counted` is set, its bytes are those of its tensors: nothing writes it to a file.
    """

    name: str
    open: Callable[[], nn.Module]
    files: tuple[Path, ...]
    package: str
    counted: bool = False

    def weigh(self, net: nn.Module) -> int:
        """Bytes that have to be stored to run it; `net` is what was opened."""
        return count_stored(net) if self.counted else sum(x.stat().st_size for x in self.files)


@dataclass(frozen=True, slots=True)
class Spent:
    """What running a UNet takes, without a word on what it paints."""

    latency: Latency
    peak_bytes: int | None
    file_bytes: int


def measure_runtimes(
    folder: Path, bench: Bench, rows: Path, tell: Callable[[str], None] = lambda said: None
) -> RuntimeTable:
    """Quantise the UNet of an export that has ONNX files, and measure all of its runtimes.

    Args:
        folder: the export; `onnx-int8/unet` is written into it.
        bench: of its study, on the processor.
        rows: a folder for what was painted, by which a killed run goes on.
        tell: is told what is measured.

    Raises:
        InputError: there are no ONNX files, or they take other latents than the protocol has.
        WorkError: the int8 graph is not what it must be.
    """
    unet = open_torch(folder)
    _check_shapes(folder, bench)
    calibrating, asked = pose_questions(bench)
    tell("calibrating int8")
    feeds = [
        {name: one.numpy() for name, one in each._asdict().items()} for each in calibrating.each()
    ]
    quantized = quantize_unet(folder / "onnx" / "unet", folder / "onnx-int8" / "unet", unet, feeds)
    tell("rounding one part after another")
    parts = rank_parts(unet, calibrating.each(), asked)
    config = unet.config
    del unet
    candidates, absent = list_candidates(folder, config)
    spent = time_rounds(candidates, bench, tell)
    measured = []
    for one in candidates:
        tell(f"painting with {one.name}")
        try:
            values = _paint(one, bench, rows)
        except NotFiniteError as error:
            absent[one.name] = str(error)
            continue
        this = spent[one.name]
        measured.append(
            Runtime(
                name=one.name,
                values=values,
                latency_ms=this.latency,
                file_bytes=this.file_bytes,
                peak_bytes=this.peak_bytes,
            )
        )
    return RuntimeTable(
        protocol_key=bench.resolved.key,
        seed=bench.seed,
        column=bench.protocol.column("fd"),
        samples=len(bench.samples),
        runtimes=tuple(measured),
        quantized=quantized,
        parts=parts,
        absent=absent,
    )


def list_candidates(
    folder: Path, config: Mapping[str, Any]
) -> tuple[list[Candidate], dict[str, str]]:
    """The runtimes that can be measured here, the one compared with first; others, and why not.

    `config` is the stock configuration of the UNet.
    """
    stored = tuple(sorted((folder / "unet").glob("diffusion_pytorch_model*.safetensors")))
    plain = tuple(file for file in stored if "fp16" not in file.name)

    def open_onnx(place: str) -> Candidate:
        home = folder / place / "unet"
        files = tuple(sorted(home.iterdir()))
        name = ONNX if place == "onnx" else ONNX_INT8
        return Candidate(name, lambda: OnnxUNet(home / "model.onnx", config), files, "onnxruntime")

    found = [
        Candidate(TORCH, lambda: open_torch(folder), plain, "torch"),
        open_onnx("onnx"),
        open_onnx("onnx-int8"),
    ]
    if not has_torchao():
        return found, {TORCHAO: WHY_NO_TORCHAO}
    weight_only = Candidate(
        TORCHAO, lambda: quantize_weights(open_torch(folder)), plain, "torchao", counted=True
    )
    return [*found, weight_only], {}


def time_rounds(
    candidates: list[Candidate], bench: Bench, tell: Callable[[str], None] = lambda said: None
) -> dict[str, Spent]:
    """What a call of each takes: of `ROUNDS` rounds over all, the one in which it was fastest.

    Each is opened anew in every round, with nothing of the one before it in memory; the least peak
    counts, since the first holds libraries that are loaded once.
    """
    found: dict[str, Spent] = {}
    for number in range(ROUNDS):
        tell(f"timing, round {number + 1} of {ROUNDS}")
        for one in candidates:
            this = _time(one, bench)
            known = found.setdefault(one.name, this)
            peaks = [each.peak_bytes for each in (known, this) if each.peak_bytes is not None]
            calmer = min(known, this, key=lambda each: each.latency.median)
            found[one.name] = replace(calmer, peak_bytes=min(peaks, default=None))
    return found


def _time(candidate: Candidate, bench: Bench) -> Spent:
    made: list[tuple[int, Latency]] = []

    def run() -> None:
        net = candidate.open()
        made.append((candidate.weigh(net), measure_latency(net, bench.inputs)))

    peak = added_memory(HOST, run)
    ((size, latency),) = made
    return Spent(latency, peak, size)


def _paint(candidate: Candidate, bench: Bench, rows: Path) -> dict[str, Measurement]:
    """The quality columns of a runtime; blocks that were painted before a kill are read."""
    made_from = {
        "bench": bench.content,
        "seed": bench.seed,
        "runtime": candidate.name,
        "files": [file_sha256(file) for file in candidate.files],
        "version": version(candidate.package),
    }
    shards = Shards(rows / content_key(made_from), len(bench.blocks))
    protocol = bench.protocol.model_copy(update={"compile": False})
    net = candidate.open() if shards.missing() else None
    for number in shards.missing():
        block = bench.blocks[number]
        inputs, samples = bench.inputs.select(block), bench.samples[block]
        made = generate(net, bench.teacher, inputs, samples, protocol)
        shards.write(number, measure_rows(made, block, bench))
    return summarize_rows(shards.read(), bench)


def _check_shapes(folder: Path, bench: Bench) -> None:
    """Refuse ONNX files that are missing, or that the protocol's latents or words do not fit."""
    file = folder / "onnx" / "unet" / "model.onnx"
    if not file.is_file():
        raise InputError(
            f"int8 is made of an export's ONNX files, but there is no {file}; export those first"
        )
    (_, *latent), (tokens, _) = OnnxUNet(file, {}).fixed_shapes
    wanted = [*bench.inputs.noise.shape[-2:], bench.inputs.text.shape[1]]
    if [*latent, tokens] != wanted:
        raise InputError(
            f"an ONNX file takes latents and words of one size, {[*latent, tokens]} of {folder}, "
            f"but the study's protocol has {wanted}; set protocol.resolution to the model's own"
        )
