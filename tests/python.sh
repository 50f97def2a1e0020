#!/usr/bin/env bash
# The Python package: built as a wheel, installed into clean folders, and tested there, on every Python that is here
# and with Anthropic's SDK from the oldest version that can stream to the newest.
#
# Installs through pip and nothing else. Ends with a line like a Rust test's, "test result: ok. N passed; N failed".
# ONLY=3.12 takes one Python; more arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# Python, and what is installed for it. One pair has the clouds' clients as well, one the servers that fork.
PAIRS=(
    "3.8 anthropic==0.16.0 httpx<0.28"
    "3.8 anthropic==0.72.0"
    "3.9 anthropic==0.125.0"
    "3.10 anthropic==0.76.0"
    "3.11 anthropic==1.17.0"
    "3.12 anthropic[bedrock,vertex]==2.12.0"
    "3.13 anthropic==2.12.0 gunicorn==27.0.1 celery==5.7.0"
)
export REVENIUM_AGENT_BINARY="${REVENIUM_AGENT_BINARY:-$PWD/target/debug/revenium-agent}"

interpreter() { # VERSION: one that runs, if there is one
    local found
    for found in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python "$(command -v "python$1")"; do
        "$found" -c 'import ensurepip, ssl' > /dev/null 2>&1 && echo "$found" && return
    done
}

folder() { # PYTHON PACKAGES...: a virtual environment with them, made once
    local python="$1" name; shift
    name="target/tools/python/$(echo "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$*" | tr -c 'A-Za-z0-9.\n' _)"
    if [ ! -f "$name/made" ]; then
        "$python" -m venv "$name" && "$name/bin/python" -m pip install -q --disable-pip-version-check pytest "$@" >&2 && touch "$name/made"
    fi
    echo "$name"
}

tools() { # What builds the wheel and checks the types.
    local python
    python="$(interpreter 3.12)"
    folder "${python:-python3}" mypy build setuptools wheel anthropic==2.12.0
}

passed=0 failed=0
note() { # NAME CODE
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}

tools="$(tools)"
rm -rf target/python && mkdir -p target/python
# In a copy, as building leaves folders behind.
cp -r python target/python/source && rm -rf target/python/source/build
"$tools/bin/python" -m build -q --wheel --no-isolation -o target/python target/python/source
note "building the wheel" $?
wheel="$(echo target/python/*-py3-none-any.whl)"
[ -f "$wheel" ]
note "a wheel for every Python and machine" $?
(cd python && "../$tools/bin/mypy" --no-error-summary)
note "types" $?

for pair in "${PAIRS[@]}"; do
    read -r version packages <<< "$pair"
    [ -z "${ONLY:-}" ] || [ "$ONLY" = "$version" ] || continue
    python="$(interpreter "$version")"
    if [ -z "$python" ]; then
        echo "skipped: $pair, as there is no Python $version here"
        continue
    fi
    # shellcheck disable=SC2086
    venv="$(folder "$python" $packages)"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --force-reinstall --no-deps "$wheel"
    note "installing for $pair" $?
    echo "== $pair"
    out="$(cd python && "../$venv/bin/python" -m pytest -q -p no:cacheprovider "$@" 2>&1)" || echo "$out"
    last="$(tail -n 1 <<< "$out")"
    echo "$last"
    good="$(grep -oE '[0-9]+ passed' <<< "$last" | cut -d' ' -f1)" bad="$(grep -oE '[0-9]+ (failed|error)' <<< "$last" | awk '{n += $1} END {print n + 0}')"
    # It did not even begin.
    [ -n "$good" ] || [ "$bad" -gt 0 ] || bad=1
    passed=$((passed + ${good:-0})) failed=$((failed + bad))
done

[ "$failed" -eq 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed"
[ "$failed" -eq 0 ]
