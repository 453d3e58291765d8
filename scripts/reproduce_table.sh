#!/usr/bin/env bash
# The live table: every method builds designs from the same 68 labels and they are measured for real,
# without a budget, at 60 % and at 45 % of the teacher's parameters, and at 70 % of its MACs; then
# eight designs get a long recovery. About an hour on 2 cores; killed anywhere, the next run goes on from where it was.
# Writes docs/tiny-table.md and adds the new labels to assets/tiny-labels.jsonl.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/venv.sh

make_venv run
work=${1:-work/table}
methods='["autobuild", "exhaustive", "autobuild-paper", "ridge", "random"]'
for budget in none 0.60 0.45 macs-0.70; do
    study=$work/$budget
    if [ ! -e "$study/study.toml" ]; then
        case $budget in
            0.*) .venv/bin/sdsearch init "$study" --share "$budget" ;;
            *) .venv/bin/sdsearch init "$study" ;;
        esac
        if [ "$budget" = macs-0.70 ]; then
            sed -i 's/^budget = .*/budget = { macs = { share = 0.70 } }/' "$study/study.toml"
        fi
        sed -i "s/^methods = .*/methods = $methods/" "$study/study.toml"
        printf '\n[export.recovery]\nsteps = 600   # 20 times those of a label\n' >>"$study/study.toml"
    fi
    say "designs within: $budget"
    .venv/bin/sdsearch sample "$study"
    .venv/bin/sdsearch label "$study" --import tiny
    .venv/bin/sdsearch build "$study"
    .venv/bin/sdsearch label "$study"
    .venv/bin/sdsearch report "$study"
done
for design in {autobuild,exhaustive}-{1..4}; do
    say "long recovery of $design at 60 %"
    .venv/bin/sdsearch recover "$work/0.60" --design "$design"
done
.venv/bin/sdsearch compare "$work/0.60"
cp "$work/0.60/compare/grid.png" assets/tiny-comparison.png
.venv/bin/python scripts/write_tiny_table.py "$work"
