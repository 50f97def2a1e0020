#!/usr/bin/env bash
# The Python package: both its wheels are built, installed into clean folders, and tested there. The one without an
# agent on every Python that is here and with Anthropic's SDK from the oldest version that can stream to the newest;
# the one with it as an ordinary user meets it, which needs a Python that such a user can run.
#
# Installs through pip and nothing else. Ends with a line like a Rust test's, "test result: ok. N passed; N failed; N
# skipped". A test that is skipped for a reason that is not in EXPECTED has failed.
# ONLY=3.12 takes one Python, ONLY=agent the wheel with the agent; more arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

# Python, and what is installed for it. One pair has the clouds' clients as well, one the servers that fork and Revenium's
# own package.
PAIRS=(
    "3.8 anthropic==0.16.0 httpx<0.28"
    "3.8 anthropic==0.72.0"
    "3.9 anthropic==0.125.0"
    "3.10 anthropic==0.76.0"
    "3.11 anthropic==1.17.0"
    "3.12 anthropic[bedrock,vertex]==2.12.0"
    "3.13 anthropic==2.14.0 gunicorn==27.0.1 celery==5.7.0 revenium-python-sdk==0.12.0"
)

# Why a test may be skipped: it needs what this SDK or this machine has not got, or one pair is enough.
EXPECTED=(
    "this version of the SDK (has no|cannot|is too old)"
    "Amazon's frames are no lines"
    "the (recordings are|page is) not beside this checkout"
    "once is enough for what takes so long"
    "the oldest and the newest say enough"
    "only root may "
    "this is not root|there is another reason here already"
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

tools() { # What checks the types.
    local python
    python="$(interpreter 3.12)"
    folder "${python:-python3}" mypy anthropic==2.14.0
}

for_everybody() { # A Python outside of anybody's home, if there is one that is new enough.
    /usr/bin/python3 -c 'import ensurepip, ssl, sys; sys.exit(sys.version_info < (3, 10))' 2> /dev/null &&
        echo /usr/bin/python3
}

lacking() { # PACKAGES: why a test may be skipped where these are installed, as it needs others, or the other wheel.
    local why="the wheel that is installed has no agent in it" name reason
    while IFS=: read -r name reason; do
        [[ "$1" == *"$name"* ]] || why+="|$reason"
    done << 'END'
bedrock:could not import 'boto3'
vertex:could not import 'google.auth'
gunicorn:could not import 'gunicorn'
celery:could not import 'celery'
revenium-python-sdk:Revenium's own package is not in this environment
END
    echo "$why"
}

passed=0 failed=0 skipped=0 begun=0
note() { # NAME CODE
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}

# Most of their time they wait, so a few are tried at once: each in the background, with what it says in a file.
AT_ONCE=2
results="$(mktemp -d)"
trap 'rm -rf "$results"' EXIT

begin() { # ARGS of `try`: begins it as soon as one of few is over
    while [ "$(jobs -pr | wc -l)" -ge "$AT_ONCE" ]; do wait -n; done
    begun=$((begun + 1))
    (
        passed=0 failed=0 skipped=0
        try "$@"
        echo "$passed $failed $skipped" > "$results/$begun.counts"
    ) > "$results/$begun.text" 2>&1 &
}

gather() { # Says what they said, in the order in which they began, and counts; one that left no counts has failed.
    local n good bad left
    wait
    for n in $(seq 1 "$begun"); do
        cat "$results/$n.text"
        read -r good bad left 2> /dev/null < "$results/$n.counts" || { good=0 bad=1 left=0; echo "FAILED: it did not end"; }
        passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
    done
    begun=0
}

unexpected() { # REASONS: of a report, the lines of skips that nobody expects, for these reasons neither.
    grep -E '^SKIPPED ' | grep -vE "$(IFS='|'; echo "${EXPECTED[*]}")${1:+|$1}"
}

try() { # TITLE VENV WHEEL REASON ARGS...: installs the wheel there, and runs tests with it; REASON may skip some, too.
    local title="$1" venv="$2" wheel="$3" reason="$4" out last good bad odd; shift 4
    "$venv/bin/python" -m pip install -q --disable-pip-version-check --force-reinstall --no-deps "$wheel"
    note "installing for $title" $?
    echo "== $title"
    # One that hangs has failed, and says where: each thread's trace after five minutes in one test.
    out="$(cd python && timeout --signal=ABRT 1200 "../$venv/bin/python" -m pytest -q -rs -p no:cacheprovider \
        -o faulthandler_timeout=300 "$@" 2>&1)" || echo "$out"
    last="$(tail -n 1 <<< "$out")"
    echo "$last"
    count() { grep -oE "[0-9]+ ($1)" <<< "$last" | awk '{n += $1} END {print n + 0}'; }
    good="$(count passed)" bad="$(count 'failed|error')"
    # It did not even begin.
    [ "$good" -gt 0 ] || [ "$bad" -gt 0 ] || bad=1
    odd="$(unexpected "$reason" <<< "$out")"
    if [ -n "$odd" ]; then
        echo "skipped, and not expected to be: $odd"
        bad=$((bad + $(wc -l <<< "$odd")))
    fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + $(count skipped)))
}

clean() { # PYTHON WHEEL FOLDER: the wheel and all that it asks for, as `pip install` finds it, in a new environment.
    rm -rf "$3"
    "$1" -m venv "$3" && "$3/bin/python" -m pip install -q --disable-pip-version-check "$2" &&
        "$3/bin/python" -m pip check -q &&
        # Not this folder's own.
        (cd / && "$OLDPWD/$3/bin/python" -I -c 'import anthropic, revenium_middleware_anthropic as ours; assert "/site-packages/" in ours.__file__')
}

tools="$(tools)"
rm -rf target/python
ops/wheels.sh --profile dev --output target/python > /dev/null 2>&1
note "building the wheels" $?
sums="$(sha256sum target/python/*)"
ops/wheels.sh --profile dev --output target/python > /dev/null 2>&1
[ "$sums" = "$(sha256sum target/python/*)" ]
note "the same wheels twice" $?
pure="$(echo target/python/*-py3-none-any.whl)" whole="$(echo target/python/*-py3-none-manylinux_*.whl)"
[ -f "$pure" ] && [ -f "$whole" ]
note "a wheel with the agent, and one for every machine" $?
(cd python && "../$tools/bin/mypy" --no-error-summary)
note "types" $?

for pair in "${PAIRS[@]}"; do
    read -r version packages <<< "$pair"
    [ -z "${ONLY:-}" ] || [ "$ONLY" = "$version" ] || continue
    python="$(interpreter "$version")"
    if [ -z "$python" ]; then
        echo "skipped: $pair, as there is no Python $version here"
        skipped=$((skipped + 1))
        continue
    fi
    # shellcheck disable=SC2086
    begin "$pair" "$(folder "$python" $packages)" "$pure" "$(lacking "$packages")" "$@"
done
gather

python="$(interpreter 3.8)"
if [ -n "$python" ] && { [ -z "${ONLY:-}" ] || [ "$ONLY" = 3.8 ]; }; then
    clean "$python" "$pure" target/python/clean-3.8
    note "pip install of the wheel without an agent" $?
fi

if [ -z "${ONLY:-}" ] || [ "$ONLY" = agent ]; then
    python="$(for_everybody)"
    venv=target/python/clean
    clean "${python:-$(interpreter 3.12)}" "$whole" "$venv"
    note "pip install of the wheel with the agent" $?
    "$venv/bin/python" -m pip install -q --disable-pip-version-check pytest
    try "the wheel with the agent" "$venv" "$whole" "" tests/test_wheels.py "$@"
fi

[ "$failed" -eq 0 ] && word=ok || word=FAILED
echo "test result: $word. $passed passed; $failed failed; $skipped skipped"
[ "$failed" -eq 0 ]
