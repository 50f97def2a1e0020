//! Whether a flush on the data directory's file system reaches a device.
//!
//! *Durable* is worth what lies below the log. On tmpfs nothing survives a reboot; in a container's
//! overlay nothing survives the container; over a network the server decides. The agent runs there
//! all the same, and says so: at start, in `status`, and as a metric.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What *durable* is worth here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guarantee {
    /// Whether acknowledged events survive kill -9, an OS crash and a power cut.
    pub flushed: bool,
    /// The file system and, if weaker, what is not promised.
    pub text: String,
}

/// The network file system that `path` is, or will be, on.
pub(crate) fn network(path: &Path) -> io::Result<Option<&'static str>> {
    let magic = magic(path)?;
    let is_it = |(number, _, below): &&(u32, &str, Below)| *number == magic && matches!(below, Network);
    Ok(FILE_SYSTEMS.iter().find(is_it).map(|(_, name, _)| *name))
}

fn magic(path: &Path) -> io::Result<u32> {
    let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let magic = rustix::fs::statfs(existing)?.f_type;
    // File system magics have 32 bits, whatever the width and sign of the field.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(magic as u32)
}

impl Guarantee {
    /// That of the file system that `path` is, or will be, on.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::of_magic(magic(path)?))
    }

    /// That of the file system with the number `magic` (statfs(2)). Pure.
    fn of_magic(magic: u32) -> Self {
        let known = FILE_SYSTEMS.iter().find(|(number, ..)| *number == magic);
        match known {
            Some((_, name, Device)) => {
                Self { flushed: true, text: format!("flushed to the device ({name})") }
            }
            Some((_, name, weakness)) => {
                Self { flushed: false, text: format!("weaker: {name} {}", weakness.words()) }
            }
            None => Self {
                flushed: false,
                text: format!("weaker: file system {magic:#010x} is not known to flush to a device"),
            },
        }
    }
}

use Below::{Container, Daemon, Device, Memory, Network};

enum Below {
    Device,
    Memory,
    Container,
    Network,
    Daemon,
}

impl Below {
    fn words(&self) -> &'static str {
        match self {
            Device => "flushes to the device",
            Memory => "is memory: events are lost when the machine stops",
            Container => "lives in the container: events are lost with it; mount a volume",
            Network => "is on the network: its server decides what a flush is worth",
            Daemon => "is served by another process, which decides what a flush is worth",
        }
    }
}

/// Numbers from linux/magic.h and the file systems' own headers.
const FILE_SYSTEMS: [(u32, &str, Below); 21] = [
    (0x0000_ef53, "ext4", Device),
    (0x5846_5342, "xfs", Device),
    (0x9123_683e, "btrfs", Device),
    (0xf2f5_2010, "f2fs", Device),
    (0x2fc1_2fc1, "zfs", Device),
    (0xca45_1a4e, "bcachefs", Device),
    (0x3153_464a, "jfs", Device),
    (0x0102_1994, "tmpfs", Memory),
    (0x8584_58f6, "ramfs", Memory),
    (0x9584_58f6, "hugetlbfs", Memory),
    (0x794c_7630, "overlayfs", Container),
    (0x0000_6969, "nfs", Network),
    (0xff53_4d42, "cifs", Network),
    (0xfe53_4d42, "smb2", Network),
    (0x00c3_6400, "ceph", Network),
    (0x5346_414f, "afs", Network),
    (0x0bd0_0bd0, "lustre", Network),
    (0x4750_4653, "gpfs", Network),
    (0x0102_1997, "9p", Daemon),
    (0x6573_5546, "fuse", Daemon),
    (0x786f_4256, "vboxsf", Daemon),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_decides_what_durable_is_worth() {
        for (magic, flushed, text) in [
            (0xef53, true, "flushed to the device (ext4)"),
            (0x5846_5342, true, "flushed to the device (xfs)"),
            (0x0102_1994, false, "weaker: tmpfs is memory: events are lost when the machine stops"),
            (0x8584_58f6, false, "weaker: ramfs is memory: events are lost when the machine stops"),
            (
                0x794c_7630,
                false,
                "weaker: overlayfs lives in the container: events are lost with it; mount a volume",
            ),
            (0x6969, false, "weaker: nfs is on the network: its server decides what a flush is worth"),
            (0xff53_4d42, false, "weaker: cifs is on the network: its server decides what a flush is worth"),
            (
                0x0102_1997,
                false,
                "weaker: 9p is served by another process, which decides what a flush is worth",
            ),
            (
                0x6573_5546,
                false,
                "weaker: fuse is served by another process, which decides what a flush is worth",
            ),
            (1, false, "weaker: file system 0x00000001 is not known to flush to a device"),
        ] {
            assert_eq!(Guarantee::of_magic(magic), Guarantee { flushed, text: text.to_owned() });
        }
    }

    #[test]
    fn shared_memory_is_recognised_for_what_it_is() {
        let not_made_yet = Path::new("/dev/shm/revenium-agent/not/made/yet");
        let guarantee = Guarantee::of(not_made_yet).expect("statfs");
        assert!(!guarantee.flushed && guarantee.text.contains("tmpfs"), "{guarantee:?}");
    }
}
