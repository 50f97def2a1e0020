#!/bin/busybox sh
# The first program of a machine that tests/crash boots: mounts its disk, and runs the agent on it until the end.
busybox() { /bin/busybox "$@"; }
busybox mkdir -p /proc /sys /dev /disk
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do busybox insmod "/modules/$module"; done
busybox ip link set lo up
busybox ip addr add 10.0.2.15/24 dev eth0
busybox ip link set eth0 up
busybox mount -t ext4 /dev/vda /disk
busybox mount -t proc proc /disk/proc
busybox mount -t devtmpfs dev /disk/dev
# Through a pipe: it would draw bars on a terminal.
busybox chroot /disk /revenium-agent run --config /config.toml 2>&1 | busybox cat
