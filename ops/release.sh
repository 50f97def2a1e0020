#!/usr/bin/env bash
# Makes the files of a release: a Debian package, a tar.gz, two Python wheels, and their SHA-256 sums.
#
#   ops/release.sh [--binary FILE] [--revision N] [--output DIR] [--fast]
#
# FILE stands in for a release build, and no wheels are made then; N is the package's revision (1), DIR is
# target/dist; --fast is for tests and compresses less. It needs cargo-deb (cargo install --locked cargo-deb), and
# python3 for the wheels. A binary that needs another library than glibc and libgcc, or a newer glibc than the README
# says, is refused. The same commit and binary give the same bytes.
set -euo pipefail
# The oldest glibc that the README's support table names.
GLIBC=2.34
from=$PWD
cd "$(dirname "$0")/.."

binary='' revision=1 output="$PWD/target/dist" fast=()
while [ $# -gt 0 ]; do
    case "$1" in
    --binary) binary=$(cd "$from" && realpath "$2"); shift ;;
    --revision) revision=$2; shift ;;
    --output) output=$(cd "$from" && realpath -m "$2"); shift ;;
    --fast) fast=(--fast) ;;
    *) sed -n 's/^#   /usage: /p' "$0" >&2; exit 2 ;;
    esac
    shift
done
export PATH="$PWD/target/tools/bin:$PATH"
cargo deb --version > /dev/null || { echo 'needs cargo-deb: cargo install --locked cargo-deb' >&2; exit 1; }
version=$(cargo pkgid --locked | sed 's/.*[#@]//')

wheels=no
if [ -z "$binary" ]; then
    # What is in the wheel is what is packed below, built once.
    ops/wheels.sh --output "$output"
    binary=target/release/revenium-agent wheels=yes
fi
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export SOURCE_DATE_EPOCH

# cargo-deb finds what Cargo.toml names under target/release in a target folder of this run's own.
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
files="$stage/release"
mkdir -p "$files/completions" "$output"
strip -o "$files/revenium-agent" "$binary"

# Before anything is packed: it may need what the README's support table says, and nothing else.
refuse() { echo "$binary is not released: it needs $1" >&2; exit 1; }
needs=$(LC_ALL=C readelf --dynamic --version-info --wide "$files/revenium-agent")
others=$(sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' <<< "$needs" |
    grep -vxE 'lib(c|m)\.so\.6|libgcc_s\.so\.1|ld-linux-[a-z0-9-]+\.so\.[0-9]+') || true
[ -z "$others" ] || refuse "${others//$'\n'/, }, and may need libc, libm, libgcc_s and ld-linux alone"
newest=$(grep -o 'GLIBC_[0-9.]*' <<< "$needs" | sort --version-sort | tail -1) || true
[ "$(printf '%s\n' "$GLIBC" "${newest#GLIBC_}" | sort --version-sort | tail -1)" = "$GLIBC" ] ||
    refuse "$newest, and may need glibc $GLIBC or older: build it on an older system"

"$files/revenium-agent" man --output "$files/man"
for shell in bash zsh fish; do
    "$files/revenium-agent" completions "$shell" > "$files/completions/$shell"
done
name="revenium-agent-$version-$(uname -m)-linux-gnu"
mkdir -p "$stage/$name/ops"
cp -r "$files"/* README.md CHANGELOG.md LICENSE "$stage/$name"
cp -r ops/{config,grafana,prometheus,systemd,runbook.md} "$stage/$name/ops"
tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go-w \
    --directory="$stage" "$name" | gzip --no-name "${fast[@]}" > "$output/$name.tar.gz"

gzip --no-name --best "$files"/man/*
gzip --no-name --best < CHANGELOG.md > "$files/changelog.gz"
CARGO_TARGET_DIR="$stage" cargo deb --quiet --locked --no-build --no-strip --deb-revision "$revision" \
    "${fast[@]}" --output "$output/" > /dev/null

cd "$output"
files=("revenium-agent_$version-${revision}_"*.deb "$name.tar.gz")
[ "$wheels" = no ] || files+=("revenium_middleware_anthropic-$version-py3-none-"*.whl)
sha256sum -- "${files[@]}" > SHA256SUMS
cat SHA256SUMS
