"""A picture of a member: the UNet's 46 slots, its skips, widths and, where given, block scores.

Rows are levels, the encoder on the left, the decoder on the right, both in order of execution;
removed blocks stay as outlines: the feature passes through unchanged. Placing comes before text.
"""

from __future__ import annotations

import re
from html import escape
from math import isfinite
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from sdsearch.design import NOT_TOLD
from sdsearch.drawing.placing import (
    ARC,
    BOX_HEIGHT,
    BOX_WIDTH,
    PITCH,
    ROW,
    TOP,
    Box,
    Skip,
    place_boxes,
    place_skips,
)
from sdsearch.errors import InputError, suggest
from sdsearch.keys import content_key
from sdsearch.unet import (
    SLOTS,
    SLOTS_BY_NAME,
    SlotCost,
    UNetCost,
    level_sizes,
    member_backbone,
    unet_cost,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sdsearch.unet import Architecture, Backbone

_WIDTH, _HEIGHT = 952.0, 652.0
_SCALE = ((0, 34, 78), (87, 93, 109), (165, 156, 116), (254, 232, 56))
"""Cividis, from low to high: its order is seen with any colour vision, and in grey."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE = """
.sds{font:13px system-ui,sans-serif;color-scheme:light dark}.sds text{fill:#222}
.sds .sds-light{fill:#fff}.sds .sds-dark{fill:#000}.sds .sds-faint{fill:#555;font-size:12px}
.sds .sds-tiny{fill:#444;font-size:8px;text-anchor:middle}
.sds .sds-title{font-size:16px;font-weight:600}.sds-slot text{text-anchor:middle}
.sds-page{fill:#fff}.sds-band{fill:#f2f3f5}.sds-skip{fill:none;stroke:#35618f;stroke-width:1.8}
.sds-skip-void{fill:none;stroke:#8a8f94;stroke-width:1.2;stroke-dasharray:2 4}
.sds-flow{fill:none;stroke:#9aa0a6;stroke-width:2}.sds-head{fill:#9aa0a6}
.sds-res{fill:#35618f}.sds-attn{fill:#a8435a}.sds-sample{fill:#4f7433}.sds-conv{fill:#5f6368}
.sds-plain .sds-box{fill:#e1e4e8;stroke:#8a8f94}.sds-strip{stroke:#8a8f94;stroke-width:.6}
.sds-removed .sds-box{fill:#fff;stroke:#8a8f94;stroke-dasharray:4 3}
.sds-ghost .sds-box{fill:#f7dfe4;stroke:#a8435a;stroke-dasharray:4 3}
.sds .sds-removed text,.sds .sds-ghost text{fill:#555}
@media screen and (prefers-color-scheme:dark){
.sds text{fill:#e8eaed}.sds .sds-faint{fill:#aaa}
.sds .sds-tiny{fill:#bbb}.sds-page{fill:#17191c}.sds-band{fill:#23262a}
.sds-skip{stroke:#8ab4f8}.sds-plain .sds-box{fill:#3b4046}.sds-removed .sds-box{fill:#17191c}
.sds .sds-removed text{fill:#aaa}.sds-ghost .sds-box{fill:#47232c;stroke:#d98a9b}
.sds .sds-ghost text{fill:#e8c5cd}}
"""


class Drawing(str):
    """An SVG document: a string that a notebook shows as the picture."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<Drawing: {len(self):,} characters of SVG>"

    def _repr_svg_(self) -> str:
        return str(self)


def draw_unet(
    arch: Architecture,
    backbone: Backbone,
    scores: Mapping[str, float] | None = None,
    title: str | None = None,
    said: Mapping[str, str] | None = None,
    below: Mapping[str, Sequence[str]] | None = None,
    ends: tuple[str, str] | None = None,
    unclear: Collection[str] = (),
) -> Drawing:
    """A standalone SVG document of a member; the same input gives the same bytes.

    `scores` maps slot names to numbers, which colour the boxes from low to high; without them the
    kind of a block gives its colour. `title` may be any text: it is escaped. The document can also
    be put into an HTML page as it is, beside others. `said` maps slot names to more words about
    them, any text; every box can then be reached by keyboard. `below` maps slot names to at most
    three short lines that are written below their boxes, `ends` what the ends of the colours mean.
    The scores of `unclear` slots cannot be told from zero: they have an empty strip and no colour.

    Raises:
        InputError: a score names a slot that does not exist, or is not finite.
    """
    scores = _checked(scores or {})
    unclear = frozenset(unclear) & scores.keys()
    heading = _NOT_XML.sub("\ufffd", title or f"UNet {arch.key}")
    boxes, cost = place_boxes(arch), unet_cost(arch, backbone)
    totals = _totals(arch, backbone, cost)
    body = [
        _rect("sds-page", 0, 0, _WIDTH, _HEIGHT),
        _text("sds-title", 14, 28, _cut(heading, 16, _WIDTH - 28)),
        _text("sds-faint", 14, 50, totals),
        *_bands(arch, backbone),
        *_flow(boxes),
        *(_draw_skip(skip) for skip in place_skips(arch, backbone, boxes)),
        *(
            _draw_box(b, c, scores, said, unclear)
            for b, c in zip(boxes.values(), cost.slots, strict=True)
        ),
        *_lines_below(boxes, below or {}),
        *_legend(scores, ends, unclear),
    ]
    facts = [arch.model_dump(mode="json"), backbone.model_dump(mode="json"), scores, heading]
    facts += [sorted(unclear)] if unclear else []
    identity = f"sds-{content_key(facts)}"
    role = "img" if said is None else "group"
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="sds" role="{role}" '
        f'viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escape(heading)}</title>'
        f'<desc id="{identity}-d">{escape(f"{arch}; {totals}")}</desc><style>{_STYLE}</style>'
        f"{''.join(body)}</svg>\n"
    )


def score_colour(share: float) -> str:
    """The colour of a score at `share` in [0, 1] of the range, as #rrggbb."""
    place = min(max(share, 0.0), 1.0) * (len(_SCALE) - 1)
    low = min(int(place), len(_SCALE) - 2)
    ends = zip(_SCALE[low], _SCALE[low + 1], strict=True)
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in ends)


def _checked(scores: Mapping[str, float]) -> dict[str, float]:
    for name, score in scores.items():
        if name not in SLOTS_BY_NAME:
            hint = suggest(name, SLOTS_BY_NAME, "slots are called as in down.0.res.0")
            raise InputError(f"scores must be of slots, but {name!r} is not a slot{hint}")
        if not isfinite(score):
            raise InputError(f"scores must be finite, but that of {name} is {score}; leave it out")
    return {name: float(score) for name, score in scores.items()}


def _totals(arch: Architecture, backbone: Backbone, cost: UNetCost) -> str:
    return (
        f"{len(arch.kept_slots)} of {len(SLOTS)} blocks, {cost.params / 1e6:.2f} M parameters, "
        f"{cost.macs.total / 1e9:.2f} G MACs at latent size {backbone.sample_size}"
    )


def _cut(text: str, em: float, width: float) -> str:
    """As much of `text` as fits `width` in any common font of size `em`."""
    used = 0.0
    for number, letter in enumerate(text):
        wide = letter in "mw%@" or letter.isupper() or east_asian_width(letter) in "WF"
        used += em * (1.15 if wide else 0.7)
        if used > width:
            return text[: number - 1] + "…"
    return text


def _rect(look: str, x: float, y: float, width: float, height: float, more: str = "") -> str:
    place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="{look}" {place}{more}/>'


def _text(look: str, x: float, y: float, words: str) -> str:
    return f'<text class="{look}" x="{x:g}" y="{y:g}">{escape(words)}</text>'


def _bands(arch: Architecture, backbone: Backbone) -> Iterator[str]:
    widths = member_backbone(arch, backbone).block_out_channels
    sizes = level_sizes((backbone.sample_size, backbone.sample_size))
    deepest = 2 if arch.bottom.depth is None else 3
    rows = [(f"level {level}", level, level <= deepest) for level in range(4)]
    rows.append(("mid", deepest, arch.bottom.mid is not None))
    for row, (name, level, present) in enumerate(rows):
        top = TOP + ROW * row
        facts = f"{widths[level]} channels", "{} x {}".format(*sizes[level])
        yield _rect("sds-band", 8, top, _WIDTH - 16, ROW - 6, ' rx="6"')
        yield _text("", 18, top + 54, name)
        for line, words in enumerate(facts if present else ("absent",)):
            yield _text("sds-faint", 18, top + 72 + 17 * line, words)


def _flow(boxes: Mapping[str, Box]) -> Iterator[str]:
    """The main path through all places, along the gutters, with a head where it enters a row."""
    path, heads, last = "", "", boxes["conv_in"]
    for box in boxes.values():
        y = box.y + BOX_HEIGHT / 2
        if box is last:
            path = f"M{box.middle:g} {y:g}"
        elif box.y > last.y:
            path += f"V{box.y - ARC + 2:g}H{box.middle:g}V{y:g}"
            heads += f"M{box.middle:g} {box.y:g}l-5 -8h10z"
        elif box.y < last.y:
            gutter, turn = last.y - ARC - 2, last.middle + PITCH / 2
            path += f"H{turn:g}V{gutter:g}H{box.x - 16:g}V{y:g}H{box.middle:g}"
            heads += f"M{box.x:g} {y:g}l-8 -5v10z"
        else:
            path += f"H{box.middle:g}"
        last = box
    yield f'<path class="sds-flow" d="{path}"/><path class="sds-head" d="{heads}"/>'


def _draw_skip(skip: Skip) -> str:
    source, target = skip.source, skip.target
    x1, x2, y = source.middle, target.middle, target.y
    if source.y == target.y:
        top = y - 16 - 12 * (target.slot.layer + 1)
        path = f"M{x1:g} {y:g}C{x1:g} {top:g} {x2:g} {top:g} {x2:g} {y:g}"
    else:  # From a row to the next: along the upper edge of the target's band, above its arcs.
        right, middle, top = source.x + BOX_WIDTH, source.y + BOX_HEIGHT / 2, y - 45
        path = f"M{right:g} {middle:g}C{right + 34:g} {middle:g} {right:g} {top:g} {right + 44:g} "
        path += f"{top:g}H{x2 - 30:g}C{x2 - 8:g} {top:g} {x2:g} {top + 16:g} {x2:g} {y:g}"
    look, words = ("skip", "skip") if skip.active else ("skip-void", "void skip")
    words += f": {source.slot.name} to {target.slot.name}"
    return f'<path class="sds-{look}" d="{path}"><title>{words}</title></path>'


def _draw_box(
    box: Box,
    cost: SlotCost,
    scores: Mapping[str, float],
    said: Mapping[str, str] | None,
    unclear: Collection[str],
) -> str:
    """A box in the colour of its kind or score; a block that is off has its score on a strip.

    The strip of an unclear score is empty, whether the block is off or not.
    """
    slot, kept = box.slot, box.state == "kept"
    kind = "conv" if slot.kind in ("conv_in", "conv_out") else slot.kind
    look = f"{box.state} sds-{'plain' if scores else kind}" if kept else box.state
    ink, colour, strip, y = "sds-light" if kept and not scores else "", "", "", box.y + 20.5
    facts = f"{slot.name}: {box.state}; {cost.params:,} parameters; {cost.macs.total:,} MACs"
    if slot.name in scores:
        low, high = min(scores.values()), max(scores.values())
        share = (scores[slot.name] - low) / (high - low) if high > low else 0.5
        facts += f"; score {scores[slot.name]:.4g}"
        shown = slot.name not in unclear
        colour = f' style="fill:{score_colour(share) if shown else "none"}"'
        if kept and shown:
            # From here on dark ink has more contrast than white.
            ink = "sds-dark" if share > 0.47 else "sds-light"
        else:
            strip = _rect("sds-strip", box.x + 5, box.y + 23, BOX_WIDTH - 10, 5, f' rx="2"{colour}')
            colour, y = "", box.y + 17
    words = kind if kind != "sample" else "down" if slot.half == "enc" else "up"
    reach = ""
    if said is not None:
        facts = escape("; ".join(filter(None, (facts, said.get(slot.name)))))
        reach = f' tabindex="0" role="img" aria-label="{facts}"'
    return (
        f'<g class="sds-slot sds-{look}"{reach}><title>{facts}</title>'
        + _rect("sds-box", box.x, box.y, BOX_WIDTH, BOX_HEIGHT, f' rx="5"{colour}')
        + f"{strip}{_text(ink, box.middle, y, words)}</g>"
    )


def _lines_below(boxes: Mapping[str, Box], lines: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, words in lines.items():
        for number, line in enumerate(words):
            top = boxes[name].y + BOX_HEIGHT + 8.5 + 8 * number
            yield _text("sds-tiny", boxes[name].middle, top, line)


def _legend(
    scores: Mapping[str, float], ends: tuple[str, str] | None, unclear: Collection[str]
) -> Iterator[str]:
    """Swatches and their words from left to right, along the lower edge."""
    items: list[tuple[str, int, str]] = []
    lines = [items]  # from the lower edge up
    if scores:
        shades = (f' style="fill:{score_colour(step / 23)}"' for step in range(24))
        bar = "".join(_rect("sds-shade", 5 * n, 0, 5.5, 12, more) for n, more in enumerate(shades))
        values = scores.values()
        low, high = ends or (f"score {min(values):.4g}", f"{max(values):.4g}")
        items += [("", 0, low), (bar, 120, high)]
        looks = [("plain", "not scored")]
    else:
        looks = [("res", "residual"), ("attn", "attention"), ("sample", "resampling")]
        looks.append(("conv", "convolution"))
    looks += [("removed", "removed"), ("ghost", "off, projections kept")]
    square = _rect("sds-box", 0, 0, 14, 12, ' rx="2"')
    for dashes, words in (("sds-skip", "skip"), ("sds-skip-void", "void skip")):
        items.append((f'<path class="{dashes}" d="M0 6h22"/>', 22, words))
    items += [(f'<g class="sds-{look}">{square}</g>', 14, words) for look, words in looks]
    if unclear:
        strip = _rect("sds-strip", 2, 7, 10, 3, ' style="fill:none"')
        lines.insert(0, [(f'<g class="sds-plain">{square}{strip}</g>', 14, NOT_TOLD)])
    for row, line in enumerate(lines):
        x, y = 18.0, _HEIGHT - 24 - 16 * row
        for swatch, width, words in line:
            place = f'transform="translate({x:g} {y:g})"'
            label = _text("sds-faint", width + 6 if width else 0, 10.5, words)
            yield f'<g class="sds-legend" {place}>{swatch}{label}</g>'
            x += width + 7.4 * len(words) + 18
