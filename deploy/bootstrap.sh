#!/bin/sh
# Makes .venv with everything in requirements.lock and the project itself, editable. Does nothing if that is done.
# Settings: PYTHON (an interpreter, 3.11 or newer); pip's own PIP_* variables are left as they are.
set -eu
cd -P "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if recent_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found${PYTHON:+ as $PYTHON}. Install it (Debian, Ubuntu:" \
        "apt install python3.11 python3.11-venv) or name it: make setup PYTHON=/path/to/python3.11"
}

wanted_stamp() {
    "$1" -c 'import hashlib, os, pathlib
digest = hashlib.sha256()
for name in ("requirements.lock", "pyproject.toml"):
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest(), os.getcwd())'
}

make_venv() {
    if "$1" -c 'from ensurepip import version' 2>/dev/null; then
        "$1" -m venv .venv
    elif "$1" -m pip --version >/dev/null 2>&1; then
        say "this Python has no ensurepip: taking its own pip instead"
        "$1" -m venv --without-pip .venv
        "$1" -m pip --python .venv/bin/python install --quiet pip
    elif [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        name="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
        say "this Python has no ensurepip and no pip: installing the package $name"
        apt-get update --quiet=2 >&2
        DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$name" >&2
        "$1" -m venv .venv
    else
        fail "this Python ($1) can not make a virtual environment with pip. Install the package python3-venv" \
            "(Debian, Ubuntu: sudo apt install python3.11-venv) and run this again."
    fi
}

python=$(find_python)
mkdir -p .cache
exec 9>.cache/setup.lock
"$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' # held by this shell until it ends, however it ends

stamp=.venv/.stamp
wanted=$(wanted_stamp "$python")
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2>/dev/null; then
    exit 0
fi

# Its scripts name their interpreter by full path, so a .venv that was moved here is of no use.
usable_venv() {
    .venv/bin/python -m pip --version >/dev/null 2>&1 && grep -qF "$PWD/.venv/bin/python" .venv/bin/pip
}

if ! usable_venv; then
    say "making .venv with $python"
    rm -rf .venv
    make_venv "$python"
fi
rm -f "$stamp"
say "installing $(grep -c == requirements.lock) packages from requirements.lock, a minute or so the first time"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
say "installing rulecast itself, editable"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
printf '%s\n' "$wanted" >"$stamp"
say "done: .venv/bin/python is $(.venv/bin/python --version)"
