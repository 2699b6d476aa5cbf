#!/bin/sh
# The two commands of this checkout: they set up .venv where that is needed, say so, and get to work.
#   ./go run [options]   the main job: tsgb train-local
#   ./go test [options]  ruff, mypy, import contract, pytest
# Needs Python 3.11 or newer and git. PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")"

fail() { echo "$1" >&2; exit 2; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON is $PYTHON, which is not Python 3.11 or newer; name another or unset it."
        echo "$PYTHON"
        return
    fi
    for python in python3.11 python3.12 python3.13 python3; do
        if is_new_enough "$python"; then echo "$python"; return; fi
    done
    fail "No Python 3.11 or newer was found; install one, or name it: PYTHON=/path/to/python3 ./go ..."
}

set_up() {
    wanted=$(cat pyproject.toml worker/constraints.txt | cksum)
    if [ -x .venv/bin/tsgb ] && [ "$(cat .venv/set-up 2>/dev/null)" = "$wanted" ]; then return; fi
    if [ ! -x .venv/bin/pip ]; then
        python=$(find_python)
        echo "Setting up .venv with $python (once; some minutes, about 2 GB)." >&2
        "$python" -m venv .venv || fail "$python cannot make a virtual environment; install its venv module (python3-venv on Debian)."
    else
        echo "Bringing .venv up to date with pyproject.toml." >&2
    fi
    .venv/bin/pip install --quiet --disable-pip-version-check --constraint worker/constraints.txt --editable '.[dev]' >&2
    echo "$wanted" > .venv/set-up
}

step() { echo "== $*" >&2; "$@"; }

command=${1:-}
[ $# -gt 0 ] && shift
case $command in
    run)
        set_up
        exec .venv/bin/tsgb train-local "$@" ;;
    test)
        set_up
        step .venv/bin/ruff check
        step .venv/bin/mypy
        step .venv/bin/lint-imports
        step .venv/bin/pytest "$@" ;;
    *) fail "Say ./go run or ./go test." ;;
esac
