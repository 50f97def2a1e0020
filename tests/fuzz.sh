#!/usr/bin/env bash
# Inputs made by a machine for every parser that reads what somebody else wrote (fuzz/targets), two at a time.
#
#   tests/fuzz.sh [TARGET...]         all targets, or these
#   REVENIUM_FUZZ_SECONDS             how long each is tried, 60 unless told
#
# Begins from the inputs in fuzz/corpus; what once failed lies in fuzz/findings and is tried first. What is new is kept
# under target/fuzz. Ends with how many passed and failed, and a code of 0 only if none failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

seconds="${REVENIUM_FUZZ_SECONDS:-60}"
work="$PWD/target/fuzz"
# Its sanitizer coverage is not stable in the compiler's words, and is in its deeds.
# Where tests/run.sh installs cargo-fuzz.
export PATH="$PWD/target/tools/bin:$PATH"
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/build"
built="$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release"
mapfile -t targets < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else basename -s .rs fuzz/targets/*.rs; fi)

# No address sanitizer: the agent has no unsafe code that a byte from outside reaches.
cargo fuzz build -s none || { echo "test result: FAILED. 0 passed; ${#targets[@]} failed"; exit 1; }

one() { # TARGET
    local target="$1" log="$work/$1.log" inputs="$work/$1"
    mkdir -p "$inputs" "fuzz/corpus/$target"
    {
        find "fuzz/findings/$target" -type f -print0 2> /dev/null | xargs -0 --no-run-if-empty "$built/$target" &&
            "$built/$target" "$inputs" "fuzz/corpus/$target" -max_total_time="$seconds" -timeout=20 -max_len=20000 \
                -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$inputs.found-"
    } > "$log" 2>&1
    local code=$? tried
    tried=$(grep -oE 'number_of_executed_units: [0-9]+' "$log" | grep -oE '[0-9]+')
    # One that tried nothing has found nothing.
    if [ "$code" -eq 0 ] && [ "${tried:-0}" -gt 100 ]; then
        echo "$target: $tried inputs, none fails"
    else
        tail -n 40 "$log"
        echo "$target: FAILED after ${tried:-no} inputs; see $log"
        return 1
    fi
}

export -f one
export seconds work built
rm -f "$work/failed.list"
printf '%s\n' "${targets[@]}" | xargs -P 2 -I TARGET bash -c 'one TARGET || echo TARGET >> "$work/failed.list"; true'
failed=$(cat "$work/failed.list" 2> /dev/null | wc -l)
echo "test result: $((${#targets[@]} - failed)) passed; $failed failed"
[ "$failed" -eq 0 ]
