#!/usr/bin/env bash
# Machines that are killed while an agent runs in them, kernel and all: installs what that takes, and runs the test.
#
#   REVENIUM_QEMU_ROUNDS    kills, 20 unless told; a kill takes some ten seconds
#
# Takes QEMU, busybox and a kernel from Debian, by apt-get and as root. The kernel is only unpacked, below target/machine.
set -euo pipefail
cd "$(dirname "$0")/.."

export REVENIUM_QEMU_ROUNDS="${REVENIUM_QEMU_ROUNDS:-20}"
folder="$PWD/target/machine"

packages=()
[ -n "$(command -v qemu-system-x86_64)" ] || packages+=(qemu-system-x86)
[ -n "$(command -v mkfs.ext4)" ] || packages+=(e2fsprogs)
# Another busybox may need libraries that the machine does not have.
dpkg -s busybox-static > /dev/null 2>&1 || packages+=(busybox-static)
if [ ${#packages[@]} -gt 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
fi

if [ ! -d "$folder/boot" ]; then
    # The package of this name is empty and depends on today's kernel.
    kernel="$(apt-cache depends linux-image-cloud-amd64 | grep -oE 'linux-image-[0-9][^ ]*' | head -n 1)"
    mkdir -p "$folder"
    (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$kernel" && dpkg -x "$kernel"_*.deb . && rm "$kernel"_*.deb)
fi

exec cargo test --workspace --locked --test crash machine -- --nocapture
