#!/usr/bin/env bash
# Makes the two wheels of the Python package: with the agent in it, for Linux on a processor like this one, and without
# it, for everything else.
#
#   ops/wheels.sh [--profile NAME] [--output DIR]
#
# NAME is the profile that cargo builds (release), DIR is target/dist. It needs python3, and installs what else it needs
# through pip into target/tools/wheels. The same commit and program give the same bytes. The program that it leaves
# in the target folder is stripped.
set -euo pipefail
from=$PWD
cd "$(dirname "$0")/.."

TOOLS=(maturin==1.16.0 setuptools==80.9.0 wheel==0.45.1)

profile=release output="$PWD/target/dist"
while [ $# -gt 0 ]; do
    case "$1" in
    --profile) profile=$2; shift ;;
    --output) output=$(cd "$from" && realpath -m "$2"); shift ;;
    *) sed -n 's/^#   /usage: /p' "$0" >&2; exit 2 ;;
    esac
    shift
done

tools=$PWD/target/tools/wheels
made="$tools/made ${TOOLS[*]}"
if [ ! -f "$made" ]; then
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "${TOOLS[@]}"
    touch "$made"
fi
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$output"

# From a copy with modes of its own, as building leaves folders behind and a checkout's modes are its user's.
# What one has left, setuptools would take for this one's.
cp -r python "$stage/source"
rm -rf "$stage"/source/{build,src/*.egg-info}
find "$stage/source" -name __pycache__ -prune -exec rm -rf {} +
chmod -R u=rwX,go=rX "$stage/source"
# The oldest time that an archive can hold, which maturin takes by itself. A variable for it would make cargo build anew.
SOURCE_DATE_EPOCH=315532800 "$tools/bin/pip" wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation \
    --wheel-dir "$stage" "$stage/source"
# Its warning, that pip would take another tool, is as it should be.
(cd python && env -u SOURCE_DATE_EPOCH "$tools/bin/maturin" build --quiet --profile "$profile" --out "$stage")
mv "$stage"/*.whl "$output"
