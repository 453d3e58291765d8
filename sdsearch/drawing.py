"""A picture of a member: the UNet's 46 slots, its skips, widths and, where given, block scores.

Rows are levels, the encoder on the left and the decoder on the right, both in order of execution;
removed blocks stay as outlines, since the feature passes through their place unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from sdsearch.architecture import member_backbone
from sdsearch.cost import UNetCost, unet_cost
from sdsearch.errors import InputError, nearest
from sdsearch.graph import EDGES, SLOTS, Edge, active_edges, build_graph

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sdsearch.architecture import Architecture
    from sdsearch.backbone import Backbone
    from sdsearch.graph import Slot

State = Literal["kept", "ghost", "removed"]

BOX_WIDTH, BOX_HEIGHT, PITCH = 46.0, 32.0, 56.0
_ENCODER, _DECODER, _MID = 126.0, 540.0, 428.0
_TOP, _ROW, _ARC = 74.0, 108.0, 52.0
_WIDTH, _HEIGHT = 952.0, 652.0
_LABELS = {"conv_in": "conv", "res": "res", "attn": "attn", "sample": "", "conv_out": "conv"}
_SCALE = ((0, 34, 78), (87, 93, 109), (165, 156, 116), (254, 232, 56))
"""Cividis, from low to high: its order is seen with any colour vision, and in grey."""
_STYLE = """
.sds{font:12px system-ui,sans-serif;color-scheme:light dark}
.sds text{fill:#222}.sds .sds-in{fill:#fff;text-anchor:middle}.sds .sds-dark{fill:#111}
.sds .sds-title{font-size:16px;font-weight:600}.sds .sds-faint{fill:#555}
.sds-page{fill:#fff}.sds-band{fill:#f2f3f5}.sds-flow{fill:none;stroke:#9aa0a6;stroke-width:2}
.sds-skip{fill:none;stroke:#35618f;stroke-width:1.8}
.sds-skip-void{fill:none;stroke:#9aa0a6;stroke-width:1;stroke-dasharray:2 4}
.sds-res{fill:#35618f}.sds-attn{fill:#a8435a}.sds-sample{fill:#4f7433}.sds-conv{fill:#5f6368}
.sds-removed rect{fill:#fff;stroke:#8a8f94;stroke-dasharray:4 3}
.sds .sds-removed text,.sds .sds-ghost text{fill:#555}
.sds-ghost rect{fill:#f7dfe4;stroke:#a8435a;stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){.sds text{fill:#e8eaed}.sds .sds-faint{fill:#aaa}
.sds .sds-in{fill:#fff}.sds .sds-dark{fill:#111}.sds-page{fill:#17191c}.sds-band{fill:#23262a}
.sds-skip{stroke:#8ab4f8}.sds-removed rect{fill:#17191c}.sds .sds-removed text{fill:#aaa}
.sds-ghost rect{fill:#47232c;stroke:#d98a9b}.sds .sds-ghost text{fill:#e8c5cd}}
@media print{.sds-page{fill:#fff}}
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A slot at its place; `x` and `y` are its upper left corner in SVG units."""

    slot: Slot
    state: State
    x: float
    y: float

    @property
    def middle(self) -> float:
        """Its horizontal middle."""
        return self.x + BOX_WIDTH / 2


def draw_unet(
    arch: Architecture,
    backbone: Backbone,
    scores: Mapping[str, float] | None = None,
    title: str | None = None,
) -> str:
    """A standalone SVG document of a member; the same input gives the same bytes.

    `scores` maps slot names to numbers, which colour the boxes from low to high; without them the
    kind of a block gives its colour. `title` may be any text: it is escaped.

    Raises:
        InputError: a score names a slot that does not exist.
    """
    scores = scores or {}
    names = [slot.name for slot in SLOTS]
    for name in scores.keys() - set(names):
        raise InputError(f"scores must be of slots, but {name!r} is none; {_hint(name, names)}")
    boxes = place_boxes(arch)
    cost = unet_cost(arch, backbone)
    heading = title or f"{arch.key}: {cost.params:,} parameters"
    body = [
        *_bands(arch, backbone),
        f'<path class="sds-flow" d="{_flow(boxes)}"/>',
        *_skips(arch, backbone, boxes),
        *(_draw_box(box, cost, scores) for box in boxes.values()),
        *_legend(scores),
    ]
    identity = f"sds-{arch.key}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sds" role="img" '
        f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escape(heading)}</title>'
        f'<desc id="{identity}-d">{escape(_describe(arch, cost))}</desc><style>{_STYLE}</style>'
        f'<rect class="sds-page" width="{_WIDTH:g}" height="{_HEIGHT:g}"/>'
        f'<text class="sds-title" x="14" y="28">{escape(_cut(heading, 100))}</text>'
        f'<text class="sds-faint" x="14" y="50">{escape(_cut(_describe(arch, cost), 140))}</text>'
        + "".join(body)
        + "</svg>\n"
    )


def place_boxes(arch: Architecture) -> dict[str, Box]:
    """All 46 slots by name, each at its place."""
    boxes = {}
    for slot in SLOTS:
        column = slot.position
        if slot.half in ("in", "enc"):
            x = _ENCODER + PITCH * (column + (slot.half == "enc"))
        elif slot.half == "mid":
            x = _MID + PITCH * (column - 1)
        else:
            x = _DECODER + PITCH * (6 if slot.half == "out" else column)
        row = 4 if slot.half == "mid" else slot.level
        boxes[slot.name] = Box(slot, _state(slot.name, arch), x, _TOP + _ROW * row + _ARC)
    return boxes


def score_colour(share: float) -> str:
    """The colour of a score at `share` in [0, 1] of the range, as #rrggbb."""
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    low = min(int(place), len(_SCALE) - 2)
    mixed = (
        round(a + (b - a) * (place - low))
        for a, b in zip(_SCALE[low], _SCALE[low + 1], strict=True)
    )
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _state(name: str, arch: Architecture) -> State:
    return "kept" if name in arch.kept_slots else "ghost" if name in arch.ghost_slots else "removed"


def _hint(name: str, names: list[str]) -> str:
    return f"did you mean {nearest(name, names)!r}?"


def _describe(arch: Architecture, cost: UNetCost) -> str:
    return f"{arch}; {cost.params / 1e6:.2f} M parameters, {cost.macs.total / 1e9:.2f} G MACs"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _bands(arch: Architecture, backbone: Backbone) -> Iterator[str]:
    own = member_backbone(arch, backbone)
    side = own.sample_size
    for level, width in enumerate(own.block_out_channels):
        top = _TOP + _ROW * level
        absent = level == 3 and arch.bottom.depth is None
        words = "absent" if absent else f"{width} channels"
        yield (
            f'<rect class="sds-band" x="8" y="{top:g}" width="{_WIDTH - 16:g}" '
            f'height="{_ROW - 6:g}" rx="6"/><text x="18" y="{top + 62:g}">level {level}</text>'
            f'<text class="sds-faint" x="18" y="{top + 80:g}">{words}</text>'
        )
        if not absent:
            yield f'<text class="sds-faint" x="18" y="{top + 96:g}">{side} x {side}</text>'
        side = (side + 1) // 2
    yield f'<text x="18" y="{_TOP + _ROW * 4 + 72:g}">mid</text>'


def _flow(boxes: Mapping[str, Box]) -> str:
    """The main path through all places, along the gutters from row to row."""
    path, last = "", None
    for box in boxes.values():
        y = box.y + BOX_HEIGHT / 2
        if last is None:
            path = f"M{box.middle:g} {y:g}"
        elif last.y == box.y and last.slot.half == box.slot.half:
            path += f"H{box.middle:g}"
        elif box.y > last.y:
            gutter = box.y - _ARC + 2
            path += f"V{gutter:g}H{box.middle:g}V{y:g}"
        elif box.y < last.y:
            gutter = last.y - _ARC - 2
            path += f"H{last.middle + PITCH / 2:g}V{gutter:g}H{box.x - 5:g}V{y:g}H{box.middle:g}"
        else:
            path += f"H{box.middle:g}"
        last = box
    return path


def _skips(arch: Architecture, backbone: Backbone, boxes: Mapping[str, Box]) -> Iterator[str]:
    """The teacher's 12 skips: solid from the block that now feeds them, dotted where void."""
    active = {e.target: e for e in active_edges(build_graph(arch, backbone)) if e.kind == "skip"}
    for edge in EDGES:
        if edge.kind == "skip":
            drawn = active.get(edge.target, edge)
            kind = "sds-skip" if edge.target in active else "sds-skip-void"
            yield f'<path class="{kind}" d="{_curve(drawn, boxes)}"/>'


def _curve(edge: Edge, boxes: Mapping[str, Box]) -> str:
    source, target = boxes[SLOTS[edge.source].name], boxes[SLOTS[edge.target].name]
    rise = 16 + 12 * (target.slot.layer + 1)
    x1, x2, end = source.middle, target.middle, target.y
    if source.y == target.y:
        return f"M{x1:g} {source.y:g}C{x1:g} {end - rise:g} {x2:g} {end - rise:g} {x2:g} {end:g}"
    # From a row to the next: along the upper edge of the target's band, above its arcs.
    right, middle, gutter = source.x + BOX_WIDTH, source.y + BOX_HEIGHT / 2, end - 45
    return (
        f"M{right:g} {middle:g}C{right + 34:g} {middle:g} {right:g} {gutter:g} {right + 44:g} "
        f"{gutter:g}H{x2 - 30:g}C{x2 - 8:g} {gutter:g} {x2:g} {gutter + 16:g} {x2:g} {end:g}"
    )


def _draw_box(box: Box, cost: UNetCost, scores: Mapping[str, float]) -> str:
    slot, number = box.slot, SLOTS.index(box.slot)
    one = cost.slots[number]
    facts = [f"{slot.name}: {box.state}", f"{one.params:,} parameters", f"{one.macs.total:,} MACs"]
    kind = "conv" if slot.kind in ("conv_in", "conv_out") else slot.kind
    name = f"sds-{box.state}" + (f" sds-{kind}" if box.state == "kept" else "")
    place = f'x="{box.x:g}" y="{box.y:g}" width="{BOX_WIDTH:g}" height="{BOX_HEIGHT:g}" rx="5"'
    drawn, ink = f"<rect {place}/>", "sds-in"
    if slot.name in scores:
        low, high = min(scores.values()), max(scores.values())
        share = (scores[slot.name] - low) / (high - low) if high > low else 0.5
        facts.append(f"score {scores[slot.name]:.4g}")
        # A block that is off shows its score pale, over the ground of its outline.
        opacity = "" if box.state == "kept" else ";fill-opacity:.4"
        drawn += f'<rect {place} style="fill:{score_colour(share)}{opacity}"/>'
        ink = "sds-in sds-dark" if share > 0.5 and not opacity else "sds-in"
    words = _LABELS[slot.kind] or ("down" if slot.half == "enc" else "up")
    return (
        f'<g class="sds-slot {name}"><title>{escape("; ".join(facts))}</title>{drawn}'
        f'<text class="{ink}" x="{box.middle:g}" y="{box.y + 20:g}">{words}</text></g>'
    )


def _legend(scores: Mapping[str, float]) -> Iterator[str]:
    y = _HEIGHT - 24
    if scores:
        steps = 24
        for step in range(steps):
            yield (
                f'<rect x="{90 + 8 * step}" y="{y:g}" width="8.5" height="12" '
                f'style="fill:{score_colour(step / (steps - 1))}"/>'
            )
        yield _words(18, f"{min(scores.values()):.4g}")
        yield _words(292, f"{max(scores.values()):.4g} (score)")
    else:
        kinds = ("res", "residual"), ("attn", "attention"), ("sample", "resampling"), ("conv", "")
        for number, (kind, words) in enumerate(kinds):
            x = 18 + 105 * number
            yield f'<rect class="sds-{kind}" x="{x}" y="{y:g}" width="14" height="12" rx="2"/>'
            yield _words(x + 20, words or "convolution")
    for x, state, words in ((470, "removed", "removed"), (570, "ghost", "off, projections kept")):
        yield f'<g class="sds-{state}"><rect x="{x}" y="{y:g}" width="14" height="12" rx="2"/></g>'
        yield _words(x + 20, words)
    yield f'<path class="sds-skip" d="M740 {y + 6:g}h24"/>'
    yield _words(770, "skip")


def _words(x: float, text: str) -> str:
    return f'<text class="sds-faint" x="{x:g}" y="{_HEIGHT - 14:g}">{text}</text>'
