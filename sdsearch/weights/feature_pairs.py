"""Feature pairs: where a student and its teacher can be compared, for distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sdsearch.unet import SLOTS, UNPRUNED, Slot, student_path
from sdsearch.weights.channels import stream, student_widths

if TYPE_CHECKING:
    from sdsearch.unet import Architecture, Backbone


@dataclass(frozen=True, slots=True)
class FeaturePair:
    """Two modules whose outputs are (N, channels, H, W) features of one place in the net.

    `reduction` is how many latent pixels lie along a side of one feature pixel. Channel i of the
    student is the i-th channel that `choice` keeps of the teacher's (all, where widths are equal).
    An attention module returns a tuple or an output object; the feature is its first entry.
    """

    level: int
    half: Literal["enc", "dec"]
    reduction: int
    student: str
    teacher: str
    student_channels: int
    teacher_channels: int
    choice: str


def pair_features(arch: Architecture, backbone: Backbone) -> tuple[FeaturePair, ...]:
    """One pair for every half-level that the student keeps, in execution order.

    The student's feature is what leaves the half-level; the teacher's is its last output of the
    same level, half and resolution, so a student whose level 2 does not downsample is compared with
    the teacher before it does. The mid block is not hooked, as in BK-SDM.
    """
    whole = UNPRUNED
    widths = student_widths(arch, backbone)
    pairs = []
    for last in _last_slots(arch).values():
        same = (last.half, last.level, _reduction(last))
        teacher = [slot for slot in SLOTS if (slot.half, slot.level, _reduction(slot)) == same][-1]
        pairs.append(
            FeaturePair(
                last.level,
                "enc" if last.half == "enc" else "dec",
                _reduction(last),
                student_path(last, arch),
                student_path(teacher, whole),
                widths[last.level],
                backbone.block_out_channels[last.level],
                stream(last.level, arch),
            )
        )
    return tuple(pairs)


def _last_slots(arch: Architecture) -> dict[tuple[str, int], Slot]:
    """The last kept slot of each half-level; `SLOTS` and so the result are in execution order."""
    return {
        (slot.half, slot.level): slot
        for slot in SLOTS
        if slot.name in arch.kept_slots and slot.half in ("enc", "dec")
    }


def _reduction(slot: Slot) -> int:
    resampled = {"enc": 1, "dec": -1}.get(slot.half, 0) if slot.kind == "sample" else 0
    return 1 << (slot.level + resampled)
