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
    let Mount { magic, program } = Mount::of(path)?;
    let known = known(magic, program);
    Ok(known.filter(|(_, below)| matches!(below, Network)).map(|(name, _)| name))
}

/// What the kernel says of a file system.
struct Mount {
    /// Its number (statfs(2)).
    magic: u32,
    /// What serves it from over the network, if a process does.
    program: Option<&'static str>,
}

impl Mount {
    /// That of `path`, or of the nearest folder above it that there is.
    fn of(path: &Path) -> io::Result<Self> {
        let existing = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let magic = rustix::fs::statfs(existing)?.f_type;
        // File system magics have 32 bits, whatever the width and sign of the field.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let magic = magic as u32;
        if magic != FUSE {
            return Ok(Self { magic, program: None });
        }
        // A name is nice to have, and no reason to fail: what cannot be read says nothing.
        let mounts = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        let device = rustix::fs::stat(existing).map(|stat| stat.st_dev);
        Ok(Self {
            magic,
            program: device.ok().and_then(|device| program(&String::from_utf8_lossy(&mounts), device)),
        })
    }
}

/// Which of [`OVER_THE_NETWORK`] serves the device, by the lines of proc_pid_mountinfo(5).
fn program(mounts: &str, device: u64) -> Option<&'static str> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mut of_device = mounts.lines().filter(|line| line.split(' ').nth(2) == Some(&device));
    let (kind, source) = of_device.find_map(|line| line.split_once(" - ")?.1.split_once(' '))?;
    let source = source.split(' ').next().unwrap_or_default();
    // Some have the plain kind, and their name or their URL for a source.
    let name = match kind.strip_prefix("fuse.") {
        Some(name) => name,
        None if source.starts_with("http://") || source.starts_with("https://") => "davfs",
        None => source,
    };
    OVER_THE_NETWORK.into_iter().find(|known| *known == name)
}

/// The name of a file system, and what lies below it.
fn known(magic: u32, program: Option<&'static str>) -> Option<(&'static str, Below)> {
    let of_number = || {
        FILE_SYSTEMS.into_iter().find(|(number, ..)| *number == magic).map(|(_, name, below)| (name, below))
    };
    program.map(|name| (name, Network)).or_else(of_number)
}

impl Guarantee {
    /// That of the file system that `path` is, or will be, on.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::of_mount(&Mount::of(path)?))
    }

    /// Pure.
    fn of_mount(mount: &Mount) -> Self {
        match known(mount.magic, mount.program) {
            Some((name, Device)) => Self { flushed: true, text: format!("flushed to the device ({name})") },
            Some((name, weakness)) => {
                Self { flushed: false, text: format!("weaker: {name} {}", weakness.words()) }
            }
            None => Self {
                flushed: false,
                text: format!("weaker: file system {:#010x} is not known to flush to a device", mount.magic),
            },
        }
    }
}

use Below::{Container, Daemon, Device, Memory, Network};

#[derive(Clone, Copy)]
enum Below {
    Device,
    Memory,
    Container,
    Network,
    Daemon,
}

impl Below {
    fn words(self) -> &'static str {
        match self {
            Device => "flushes to the device",
            Memory => "is memory: events are lost when the machine stops",
            Container => "lives in the container: events are lost with it; mount a volume",
            Network => "is on the network: its server decides what a flush is worth",
            Daemon => "is served by another process, which decides what a flush is worth",
        }
    }
}

/// File systems that a process serves have one number.
const FUSE: u32 = 0x6573_5546;

/// Programs that serve what lies elsewhere, by the names that they mount with.
const OVER_THE_NETWORK: [&str; 16] = [
    "sshfs",
    "s3fs",
    "rclone",
    "glusterfs",
    "juicefs",
    "gcsfuse",
    "ceph-fuse",
    "mountpoint-s3",
    "blobfuse2",
    "davfs",
    "curlftpfs",
    "smbnetfs",
    "gvfsd-fuse",
    "geesefs",
    "ossfs",
    "mfs",
];

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
    (FUSE, "fuse", Daemon),
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
            let mount = Mount { magic, program: None };
            assert_eq!(Guarantee::of_mount(&mount), Guarantee { flushed, text: text.to_owned() });
        }
    }

    #[test]
    fn what_a_process_serves_from_over_the_network_is_told_by_its_name() {
        let mounts = "24 1 254:0 / / rw - ext4 /dev/vda rw\n\
            90 24 0:44 / /home/a/My\\040Files rw,nosuid shared:9 - fuse.sshfs a@host:/ rw,user_id=0\n\
            91 24 0:45 / /mnt/b rw - fuse.gocryptfs /b rw\n\
            92 24 0:46 / /mnt/c rw - fuse /dev/fuse rw\n\
            93 24 0:47 / /mnt/d rw - fuse mountpoint-s3 rw\n\
            94 24 0:48 / /mnt/e rw - fuse https://dav.example.com/a rw\n\
            95 24 0:49 / /mnt/f rw - fuse.ceph-fuse ceph-fuse rw\n";
        let of = |minor| program(mounts, rustix::fs::makedev(0, minor));
        let expected =
            [Some("sshfs"), None, None, Some("mountpoint-s3"), Some("davfs"), Some("ceph-fuse"), None];
        assert_eq!([44, 45, 46, 47, 48, 49, 50].map(of), expected);
        let guarantee = Guarantee::of_mount(&Mount { magic: FUSE, program: of(44) });
        assert!(guarantee.text.starts_with("weaker: sshfs is on the network"), "{guarantee:?}");
    }

    #[test]
    fn shared_memory_is_recognised_for_what_it_is() {
        let not_made_yet = Path::new("/dev/shm/revenium-agent/not/made/yet");
        let guarantee = Guarantee::of(not_made_yet).expect("statfs");
        assert!(!guarantee.flushed && guarantee.text.contains("tmpfs"), "{guarantee:?}");
    }
}
