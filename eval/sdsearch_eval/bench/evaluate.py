"""The harness: an architecture and a protocol in, a label out; failures become labels too."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sdsearch.errors import InputError, WorkError
from sdsearch.files import DamagedFileError
from sdsearch.labels import Label
from sdsearch.unet import UNPRUNED, count_macs, count_params
from sdsearch_eval.bench.failures import find_disk_error, name_failure
from sdsearch_eval.bench.kept import has_recovered, load_recovered, save_recovered
from sdsearch_eval.bench.rows import measure_rows, summarize_rows
from sdsearch_eval.bench.shards import Shards
from sdsearch_eval.devices import peak_memory, watch_memory
from sdsearch_eval.recovery import recover_student
from sdsearch_eval.sampling import cast_unet, generate, measure_latency
from sdsearch_eval.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from diffusers import UNet2DConditionModel

    from sdsearch.labels import Failure
    from sdsearch.unet import Architecture
    from sdsearch_eval.bench.bench import Bench
    from sdsearch_eval.world import Trouble

ALONE = World()
_ITS_OWN_FAULTS = (WorkError, RuntimeError, MemoryError, FloatingPointError, ValueError)
"""What an architecture can do wrong; anything else concerns all of them and is raised."""


@dataclass(slots=True)
class Stopwatch:
    """Seconds per phase, by a monotonic clock."""

    seconds: dict[str, float] = field(default_factory=dict)
    running: str | None = None
    """The phase at work; after an error, the one that it ended."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`, also where it ends with an error."""
        start, self.running = time.perf_counter(), name
        try:
            yield
            self.running = None
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)


def evaluate_architecture(
    arch: Architecture,
    bench: Bench,
    folder: Path,
    weights: Path,
    world: World = ALONE,
    *,
    keep: bool = True,
) -> Label | None:
    """Label `arch`: inherit, recover, sample, measure; only the first process gets the label.

    Rows are kept block by block in `folder`, so that a killed run goes on. Recovered weights are
    written to `weights` if they are to be kept, or other processes wait for them; else they never
    leave memory, and a run that goes on recovers once more, to the same weights. The blocks are
    dealt to the processes of `world`. Whatever goes wrong with this architecture, in any process,
    becomes a failed label with its reason; wrong input (`InputError`), a file system in trouble
    (`OSError`) and rows that were damaged meanwhile (`DamagedFileError`) tell nothing of it and are
    raised.
    """
    watch = Stopwatch()
    watch_memory(bench.teacher.device)
    shards = Shards(folder, len(bench.blocks))
    trouble: Trouble = None
    missing = world.share(shards.missing())
    student: list[UNet2DConditionModel] = []  # in memory, once there
    file = weights if keep or world.size > 1 else None

    def recover() -> None:
        made = recover_architecture(arch, bench, watch)
        student.append(cast_unet(made, bench.protocol.dtype))
        if file is not None:
            save_recovered(student[0], arch, bench, file)

    def work() -> None:
        find = _in_hand(student, arch, bench, weights)
        _work_off(world.mine(missing), find, bench, shards, watch)

    if missing:
        if world.is_first and not has_recovered(arch, weights, bench):
            trouble = _attempt(recover, watch)
        trouble = world.agree(trouble)
        if trouble is None:
            trouble = world.agree(_attempt(work, watch))
    label: list[Label] = []

    def measure() -> None:
        if not student and not has_recovered(arch, weights, bench):
            # Rows were whole, but the label was not written.
            if keep:
                recover()
            else:  # only the latency is to be measured, which no weight changes
                student.append(bench.teacher.student(arch))
        unet = _in_hand(student, arch, bench, weights)
        label.append(_measured(arch, unet, bench, shards, watch))

    if trouble is None and world.is_first:
        trouble = _attempt(measure, watch)
    if isinstance(trouble, Exception):
        raise trouble
    if not world.is_first:
        return None
    return label[0] if trouble is None else fail_label(arch, bench, trouble, watch.seconds)


def recover_architecture(
    arch: Architecture, bench: Bench, watch: Stopwatch
) -> UNet2DConditionModel:
    """The recovered student of `arch`, in float32; an unpruned one needs no recovery."""
    with watch.phase("inheritance"):
        unet = bench.teacher.student(arch)
    if arch != UNPRUNED:
        with watch.phase("recovery"):
            recover_student(unet, arch, bench.lessons, bench.protocol.recovery, bench.machine)
    return unet


def write_recovered(arch: Architecture, bench: Bench, weights: Path, watch: Stopwatch) -> None:
    """Recover the student of `arch`; write its weights, in the precision in which it is sampled."""
    made = cast_unet(recover_architecture(arch, bench, watch), bench.protocol.dtype)
    save_recovered(made, arch, bench, weights)


def _in_hand(
    student: list[UNet2DConditionModel], arch: Architecture, bench: Bench, weights: Path
) -> Callable[[], UNet2DConditionModel]:
    """The student as it is sampled: the one in memory, else that of the file."""

    def find() -> UNet2DConditionModel:
        if not student:
            student.append(load_recovered(arch, bench, weights))
        return cast_unet(student[0], bench.protocol.dtype)

    return find


def _work_off(
    numbers: list[int],
    find_student: Callable[[], UNet2DConditionModel],
    bench: Bench,
    shards: Shards,
    watch: Stopwatch,
) -> None:
    """Sample and measure some blocks."""
    if not numbers:
        return
    unet = find_student()
    for number in numbers:
        block = bench.blocks[number]
        inputs, samples = bench.inputs.select(block), bench.samples[block]
        with watch.phase("sampling"):
            generated = generate(unet, bench.teacher, inputs, samples, bench.protocol)
        with watch.phase("metrics"):
            shards.write(number, measure_rows(generated, block, bench))


def _measured(
    arch: Architecture,
    find_student: Callable[[], UNet2DConditionModel],
    bench: Bench,
    shards: Shards,
    watch: Stopwatch,
) -> Label:
    with watch.phase("metrics"):
        values = summarize_rows(shards.read(), bench)
    with watch.phase("latency"):
        latency = measure_latency(find_student(), bench.inputs)
    backbone = bench.teacher.backbone
    size, tokens = tuple(bench.inputs.noise.shape[-2:]), bench.inputs.text.shape[1]
    macs = count_macs(arch, backbone, (size[0], size[1]), tokens)
    return Label(
        arch_key=arch.key,
        protocol_key=bench.resolved.key,
        seed=bench.seed,
        status="ok",
        architecture=arch,
        values={
            **values,
            "params": count_params(arch, backbone),
            "macs": macs.total,
            "macs_conv_linear": macs.conv_linear,
            "latency_ms": latency,
        },
        provenance={**bench.provenance, "seconds": watch.seconds, **_peak(bench)},
    )


def _peak(bench: Bench) -> dict[str, int]:
    """The most of a GPU's memory in use since the label was begun, where torch can say."""
    peak = peak_memory(bench.teacher.device)
    return {} if peak is None else {"peak_device_bytes": peak}


def _attempt(work: Callable[[], None], watch: Stopwatch) -> Trouble:
    """Do some work on an architecture; its failure, or the error that concerns all architectures.

    Either is handed to all processes, so that they go on, or end, together.
    """
    try:
        work()
    except (InputError, OSError, DamagedFileError) as error:
        return error
    except _ITS_OWN_FAULTS as error:
        return find_disk_error(error) or name_failure(error, watch.running)
    return None


def fail_label(
    arch: Architecture, bench: Bench, failure: Failure, seconds: dict[str, float] | None = None
) -> Label:
    """The label of an architecture that could not be measured."""
    return Label(
        arch_key=arch.key,
        protocol_key=bench.resolved.key,
        seed=bench.seed,
        status="failed",
        failure=failure,
        architecture=arch,
        values={"params": count_params(arch, bench.teacher.backbone)},
        provenance={**bench.provenance, "seconds": seconds or {}},
    )
