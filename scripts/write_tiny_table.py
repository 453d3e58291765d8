"""Write docs/tiny-table.md from the studies of scripts/reproduce_table.sh; add their labels.

python scripts/write_tiny_table.py work/table
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from make_tiny_labels import TABLE, add_to_table

from sdsearch.files import write_atomic
from sdsearch.report import summarize_outcome, with_error
from sdsearch.stats import mean_and_se, spearman
from sdsearch.study import read_designs, read_study

if TYPE_CHECKING:
    from sdsearch.report import Outcome
    from sdsearch.study import StudyFolder

BUDGETS = {
    "none": "No budget",
    "0.60": "At most 60 % of the teacher's parameters",
    "0.45": "At most 45 % of the teacher's parameters",
    "macs-0.70": "At most 70 % of the teacher's multiply-accumulates",
}
BEGINNING = """\
# The live table (tiny model)

Made by `scripts/reproduce_table.sh` on 2 CPU cores; every number is of the tiny model. All methods
learn from the same 68 uniformly sampled labels (seed 0) and each builds four designs, which are
then measured by the same protocol. {column}, lower is better; ± is a standard error: over the
architectures for a mean, of the measurement for a best. `docs/reading.md` says what follows.
"""
LONG = """\
## After a long recovery

The eight designs of the 60 % budget, recovered for 600 steps of 16 in place of 30: does the short
recipe order them as a long one does? SRCC of short and long over the {n} distinct ones: {srcc:.2f}.
The mean of the four is {autobuild} by autobuild and {exhaustive} by exhaustive prediction.

| design | 30 steps | 600 steps | params |
|---|---|---|---|
{rows}
"""


def main() -> None:
    """Read the studies, write the page, extend the label table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/tiny-table.md"))
    options = parser.parse_args()
    studies = {budget: read_study(options.work / budget) for budget in BUDGETS}
    for study in studies.values():
        add_to_table(TABLE, study.labels.read_all(study.protocol_key))
    results = {budget: summarize_outcome(study) for budget, study in studies.items()}
    parts = [BEGINNING.format(column=f"`{results['none'].column}`")]
    parts += [f"## {BUDGETS[budget]}\n\n{describe(found)}" for budget, found in results.items()]
    parts.append(describe_long(studies["0.60"], results["0.60"].column))
    write_atomic(options.out, "\n".join(parts))
    print(options.out.read_text(encoding="utf-8"))


def describe(result: Outcome) -> str:
    """One budget's table as Markdown."""
    rows = [
        f"| {row.name} | {row.n} | {with_error(row.mean, row.mean_se)} "
        f"| {with_error(row.best, row.best_se)} | {row.params_share:.1%} |"
        for row in result.rows
    ]
    head = "| architectures | n | mean | best | params |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def describe_long(study: StudyFolder, column: str) -> str:
    """What a long recovery makes of the designs that have had one."""
    short = study.labels.read_series(study.series)
    rows, pairs = [], dict[str, tuple[float, float]]()
    long_of: dict[str, list[float]] = {"autobuild": [], "exhaustive": []}
    for design in read_designs(study):
        file = study.finetuned_dir(design.arch_key) / "values.json"
        if design.method not in long_of or not file.is_file():
            continue
        before = short[design.arch_key].scalar(column)
        long = json.loads(file.read_text(encoding="utf-8"))["after"][column]
        pairs[design.arch_key] = before, long["value"]
        long_of[design.method].append(long["value"])
        after = with_error(long["value"], long["se"])
        rows.append(f"| {design.name} | {before:.2f} | {after} | {design.params:,} |")
    if not rows:
        return ""
    means = {
        method: with_error(*mean_and_se(values)) for method, values in long_of.items() if values
    }
    srcc = spearman(*zip(*pairs.values(), strict=True))
    return LONG.format(n=len(pairs), srcc=srcc, rows="\n".join(rows), **means)


if __name__ == "__main__":
    main()
