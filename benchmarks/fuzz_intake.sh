#!/usr/bin/env bash
# 500 fresh cases for every reader of what users bring: each is read, or refused with an InputError.
# benchmarks/fuzz_intake.sh [SEED]        minutes on 2 cores; the committed output is fuzz_intake.txt
set -euo pipefail
cd "$(dirname "$0")/.."
seed=${1:-1}
{
    echo "500 cases each, --hypothesis-seed=$seed, on $(uname -m), $(getconf _NPROCESSORS_ONLN) cores"
    .venv/bin/python -m pytest -m fuzz -q tests/intake --hypothesis-profile=campaign \
        --hypothesis-seed="$seed" --hypothesis-show-statistics -p no:cacheprovider |
        grep -E "^tests/|passing examples|passed|failed|Stopped"
} | tee benchmarks/fuzz_intake.txt
