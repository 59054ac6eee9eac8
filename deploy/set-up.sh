#!/bin/sh
# Create the virtual environment $VENV with the pinned packages of $REQUIREMENTS, by uv if it is on PATH, otherwise
# by venv and pip. Needs no rights outside of this folder.
set -eu

fail() {
    echo "set-up: $1" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null || fail "$PYTHON was not found. Expected Python 3.11, 3.12 or 3.13. Install it (Debian: apt-get install python3 python3-venv), or name another one: make PYTHON=python3.12 ..."
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' ||
    fail "$PYTHON is $("$PYTHON" --version). TensorFlow needs 3.11, 3.12 or 3.13. Name one of these: make PYTHON=python3.12 ..."

case $REQUIREMENTS in
*-gpu.txt) size="several GB with CUDA" ;;
*) size="3.5 GB" ;;
esac
echo "set-up: installing all packages into $VENV, once; $size on disk, a minute or more, without further output"
if command -v uv >/dev/null; then
    [ -x "$VENV/bin/python" ] || uv venv --quiet --python "$PYTHON" "$VENV"
    # pip compiles bytecode too. Without it, and with PYTHONDONTWRITEBYTECODE set, each command compiles its imports,
    # which takes 2 s.
    install="uv pip install --quiet --compile-bytecode --python $VENV/bin/python"
else
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$PYTHON cannot create virtual environments. Install venv (Debian: apt-get install python3-venv) or uv"
    [ -x "$VENV/bin/pip" ] || "$PYTHON" -m venv --clear "$VENV"
    install="$VENV/bin/pip install --quiet --disable-pip-version-check"
fi
# Without dependencies: the file has all of them, and pyproject.toml excludes some.
$install --no-deps --require-hashes -r "$REQUIREMENTS"
$install --no-deps --no-build-isolation --editable .
