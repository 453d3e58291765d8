# Sourced by scripts/demo (`make_venv run`) and scripts/test (`make_venv dev`): leaves a .venv behind that
# holds what requirements/run.txt or requirements/dev.txt locks, a torch, and this checkout.
# Safe to run twice and to be killed: a half-made .venv is made again, a current one is kept.

say() { printf '\n== %s\n' "$*"; }
stop() { printf '%s\n' "$*" >&2; exit 1; }

find_python() {
    local name
    for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14 python; do
        [ -n "$name" ] && command -v "$name" >/dev/null || continue
        "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
            >/dev/null 2>&1 && { echo "$name"; return; }
    done
    stop "Python >= 3.11 with venv is needed, but none was found; install it, or set PYTHON to its path
(Debian and Ubuntu: apt install python3 python3-venv)."
}

check_space() {
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 4 ] || stop "4 GB of free disk space are needed here, but only $free GB are left."
}

pip_install() { .venv/bin/python -m pip install -qq --disable-pip-version-check "$@"; }

make_venv() {
    local lock=requirements/$1.txt python stamp sum
    # A killed script may leave its pip running: the lock, which pip inherits, waits for it.
    exec 9<scripts/venv.sh
    if command -v flock >/dev/null; then flock 9; fi
    [ ! -e .venv/installing ] || rm -rf .venv
    sum=$(cat pyproject.toml "$lock" | cksum | tr -d ' \t')
    stamp=.venv/installed-$1-$sum
    if [ -e "$stamp" ] && .venv/bin/python -c 'import sdsearch' 2>/dev/null; then
        say "installed already: .venv"
    else
        python=$(find_python) || exit 1
        check_space
        say "making .venv with $("$python" --version) and installing (1-3 minutes)"
        mkdir -p .venv
        touch .venv/installing
        [ -x .venv/bin/pip ] || "$python" -m venv .venv
        # Wheels alone: building one would fetch what it is built with, which nothing locks.
        pip_install --require-hashes --only-binary :all: --no-deps -r "$lock"
        # A torch that is there already stays: which build it is depends on the machine.
        .venv/bin/python -c 'import torch' 2>/dev/null || pip_install torch==2.13.0
        pip_install --no-deps --no-build-isolation -e .
        .venv/bin/python -m pip check >.venv/conflicts ||
            stop "the installed packages do not fit each other; make the lock again by scripts/lock:
$(cat .venv/conflicts)"
        rm .venv/installing
        touch "$stamp"
    fi
    exec 9<&-
}
