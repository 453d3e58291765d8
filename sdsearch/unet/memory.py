"""Peak activation memory of a UNet call, from the order of execution with the skips alive.

Counted are the tensors that a stock `UNet2DConditionModel` keeps in eager mode without gradients:
its inputs, every skip until the decoder block that reads it has ended, the input of the block that
runs, and what the running operation reads and writes. Attention is fused, so that no N x N map
exists. Not counted: weights, workspaces inside kernels, and what an allocator keeps for later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdsearch.unet.architecture import member_backbone
from sdsearch.unet.slots import SLOTS, Slot, level_sizes

if TYPE_CHECKING:
    from sdsearch.unet.architecture import Architecture
    from sdsearch.unet.backbone import Backbone


def activation_values(
    arch: Architecture, backbone: Backbone, latent: tuple[int, int], tokens: int
) -> tuple[int, ...]:
    """Numbers alive at most while each of the 46 slots runs, for one sample; 0 for removed slots.

    The largest of them is the peak of the whole call; multiply by batch and bytes per number.
    """
    own = member_backbone(arch, backbone)
    sizes = level_sizes(latent)
    pixels = [height * width for height, width in sizes]
    if arch.bottom.depth is None:
        pixels[3] = pixels[2]  # without level 3 the mid block runs at level 2
    alive = _Alive(own.in_channels * pixels[0] + own.cross_attention_dim * tokens)
    present = arch.kept_slots | arch.ghost_slots
    found = []
    for slot in SLOTS:
        if slot.name not in present:
            found.append(0)
            continue
        size = pixels[slot.level]  # of the output, so of the next level behind a sampler
        if slot.kind == "sample":
            size = pixels[slot.level + (1 if slot.half == "enc" else -1)]
        if slot.half == "dec" and slot.kind == "res":
            alive.enter_decoder(slot)
        found.append(alive.total() + _working(slot, own, size, ghost=slot.name in arch.ghost_slots))
        # The encoder keeps what ends each of its layers: the attention, else the res block.
        skip = slot.half in ("in", "enc") and slot.attention not in present
        alive.produce(slot.out_channels(own) * size, skip=skip)
    return tuple(found)


class _Alive:
    """What stays in memory while a slot runs: inputs, skips, the block's and the slot's input."""

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._skips: list[int] = []  # not yet read
        self._block: str | None = None
        self._block_skips = 0  # read by the running decoder block, released at its end
        self._block_input = 0
        self._stream = 0  # the newest tensor, unless it is a skip

    def total(self) -> int:
        return (
            self._inputs + sum(self._skips) + self._block_skips + self._block_input + self._stream
        )

    def enter_decoder(self, slot: Slot) -> None:
        """A decoder res block concatenates the stream with the last skip."""
        entering = self._stream
        if slot.block != self._block:
            self._block, self._block_skips, self._block_input = slot.block, 0, self._stream
            # Without a mid block the newest skip is the stream too: one tensor, read twice.
            entering = self._stream or self._skips[-1]
        skip = self._skips.pop()
        self._block_skips += skip
        self._stream = entering + skip

    def produce(self, output: int, *, skip: bool) -> None:
        """A slot has ended: its input is dropped, its output stays."""
        self._stream = 0 if skip else output
        if skip:
            self._skips.append(output)


def _working(slot: Slot, own: Backbone, size: int, *, ghost: bool) -> int:
    """Numbers that a slot holds at most beside its input; `size` in pixels of its output."""
    entering, leaving = slot.in_channels(own), slot.out_channels(own)
    if slot.kind == "res":
        # The sum with the shortcut and its rescaling: hidden, shortcut, sum, result.
        ending = (3 if entering == leaving else 4) * leaving
        return max(2 * entering, entering + leaving, ending) * size
    if slot.kind == "attn":
        # Feed-forward: block input, stream, norm, last attention; 8 + 4 + 4 widths of GEGLU.
        return (3 if ghost else 20) * leaving * size
    if slot.kind == "sample" and slot.half == "dec":
        return 2 * leaving * size
    if slot.kind == "conv_out":
        return entering * size + max(entering, leaving) * size
    return leaving * size
