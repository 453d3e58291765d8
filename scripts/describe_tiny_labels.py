"""Write docs/tiny-benchmark.md: what the table of tiny labels holds, what it can and cannot say.

    python scripts/describe_tiny_labels.py

Seconds on any machine: everything is read off the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from make_tiny_labels import TABLE
from tiny_groups import group_keys

from sdsearch.files import write_atomic
from sdsearch.labels import Protocol, ResolvedProtocol, Target, read_label_table
from sdsearch.report import measure_noise
from sdsearch.space import search_space
from sdsearch.stats import spearman
from sdsearch.unet import UNPRUNED

if TYPE_CHECKING:
    from sdsearch.labels import Label
    from sdsearch.space import SearchSpace

COLUMN, TARGET = "fd_efflite0", Target("-log(fd_efflite0)")
OTHERS = ("kid_efflite0", "lpips_like_efflite0", "psnr_hole", "ssim_hole", "params", "macs")


def main() -> None:
    """Describe the table and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--out", type=Path, default=Path("docs/tiny-benchmark.md"))
    options = parser.parse_args()
    labels = [
        x
        for x in read_label_table(options.table)
        if x.protocol_key == ResolvedProtocol(protocol=Protocol()).key
    ]
    template = Path(__file__).with_name("tiny_benchmark.md").read_text(encoding="utf-8")
    write_atomic(options.out, template.format(**facts(labels)))
    print(options.out.read_text(encoding="utf-8"))


def facts(labels: list[Label]) -> dict[str, str]:
    """Everything that the page says in numbers."""
    space = search_space("tiny")
    first = [label for label in labels if label.seed == 0]
    measured = [label for label in first if label.status == "ok"]
    values = np.array([label.scalar(COLUMN) for label in measured])
    groups = group_keys(space)
    uniform = [label for label in measured if label.arch_key in groups["uniform"]]
    noise = measure_noise(labels, uniform, COLUMN, TARGET)
    if noise is None or noise.of_value.source != "seeds":
        raise SystemExit("the table must hold labels of two seeds; run scripts/make_tiny_labels.py")
    value_line, target_line = noise.lines()
    seeds: dict[str, set[int]] = {}
    for label in labels:
        seeds.setdefault(label.arch_key, set()).add(label.seed)
    seconds = [sum(label.provenance["seconds"].values()) for label in measured]
    teacher = next(x for x in measured if x.arch_key == UNPRUNED.key)
    best = teacher.scalar(COLUMN)
    known = {key for keys in groups.values() for key in keys}
    rows = [
        f"| {name} | {len(found)} | {quantiles(found)} |"
        for name, found in (
            *((n, [x for x in measured if x.arch_key in keys]) for n, keys in groups.items()),
            (
                "neighbours of the best, and proposals",
                [x for x in measured if x.arch_key not in known],
            ),
            ("all", measured),
        )
        if found
    ]
    y = [TARGET.evaluate(label) for label in measured]
    related = [
        f"| {name} | {spearman(y, [label.scalar(name) for label in measured]):+.2f} |"
        for name in OTHERS
    ]
    return {
        "labels": str(len(labels)),
        "architectures": str(len(first)),
        "failed": str(len(first) - len(measured)),
        "repeated": str(sum(len(found) >= 3 for found in seeds.values())),
        "key": ResolvedProtocol(protocol=Protocol()).key,
        "teacher_sha": teacher.provenance["teacher_sha256"],
        "teacher": f"{best:.1f}",
        "groups": "\n".join(rows),
        "related": "\n".join(related),
        "value_noise": value_line,
        "target_noise": target_line,
        "seconds": f"{np.median(seconds):.0f}",
        "most_seconds": f"{np.quantile(seconds, 0.95):.0f}",
        "near_teacher": str(int((values <= best + 2 * noise.of_value.at(best)).sum())),
        "within_60": str(within(measured, space, 0.60)),
        "within_45": str(within(measured, space, 0.45)),
    }


def within(labels: list[Label], space: SearchSpace, share: float) -> int:
    """How many have at most `share` of the unpruned parameters."""
    whole = next(x for x in labels if x.arch_key == UNPRUNED.key).scalar("params")
    return sum(label.scalar("params") <= share * whole for label in labels)


def quantiles(labels: list[Label]) -> str:
    """Lowest, quartiles and highest value as table cells."""
    values = np.quantile([label.scalar(COLUMN) for label in labels], [0, 0.25, 0.5, 0.75, 1])
    return " | ".join(f"{value:.1f}" for value in values)


if __name__ == "__main__":
    main()
