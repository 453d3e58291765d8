# Sourced by scripts/demo and scripts/test: `make_venv EXTRA` leaves an installed .venv behind.
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

make_venv() {
    local extra=$1 python stamp sum
    # A killed script may leave its pip running: the lock, which pip inherits, waits for it.
    exec 9<scripts/venv.sh
    if command -v flock >/dev/null; then flock 9; fi
    [ ! -e .venv/installing ] || rm -rf .venv
    sum=$(cksum <pyproject.toml | tr -d ' \t')
    stamp=.venv/installed$extra-$sum
    if [ -e "$stamp" ] && .venv/bin/python -c 'import sdsearch' 2>/dev/null; then
        say "installed already: .venv"
    else
        python=$(find_python) || exit 1
        check_space
        say "making .venv with $("$python" --version) and installing (1-3 minutes)"
        mkdir -p .venv
        touch .venv/installing
        [ -x .venv/bin/pip ] || "$python" -m venv .venv
        # torch first: its requirements settle the others'.
        .venv/bin/python -m pip install -qq --disable-pip-version-check torch==2.13.0
        .venv/bin/python -m pip install -qq --disable-pip-version-check -e ".$extra"
        rm .venv/installing
        touch "$stamp"
    fi
    exec 9<&-
}
