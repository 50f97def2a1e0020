//! What a machine consists of: a kernel, a first program, and a disk with the agent on it. QEMU computes it all.
//!
//! The disk is a file that QEMU writes into, and flushes when the machine flushes. A machine that is killed loses what its
//! kernel had not written; so what its agent had not flushed may be lost, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::{Home, KEY, Sandbox};

/// What clients of its relay show, as it listens beyond loopback.
pub(super) const TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// The network that QEMU makes: the machine, and this one as it sees it.
const MACHINE: &str = "10.0.2.15";
const OUTSIDE: &str = "10.0.2.2";
/// A file with holes, of which it uses little.
const DISK_SIZE: &str = "4G";
/// Drivers of disk and network, each after those that it needs.
const MODULES: [&str; 9] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/block/virtio_blk.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
];

pub(super) struct Parts {
    kernel: PathBuf,
    first: PathBuf,
    disk: PathBuf,
}

impl Parts {
    /// Makes them in `home`, for an agent that delivers to `sandbox`.
    pub(super) fn make(home: &Home, sandbox: &Sandbox) -> Self {
        let linux = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/machine");
        let kernel = only_one(&linux.join("boot"), "vmlinuz-");
        let modules = only_one(&linux.join("lib/modules"), "").join("kernel");
        let (first, disk) = (home.path("first.cpio"), home.path("disk"));
        make_first(&home.path("first"), &modules, &first);
        make_disk(&home.path("root"), sandbox, &disk);
        Self { kernel, first, disk }
    }

    /// Runs the machine: its console is stderr, its relay and its metrics are here at these addresses.
    pub(super) fn command(&self, relay: &str, admin: &str) -> Command {
        let network =
            format!("user,id=net,hostfwd=tcp:{relay}-{MACHINE}:8793,hostfwd=tcp:{admin}-{MACHINE}:8792");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "512", "-no-reboot"]);
        command.args(["-display", "none", "-monitor", "none", "-serial", "file:/dev/stderr"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.first);
        command.args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]);
        // Not "unsafe", which would not flush.
        let disk = format!("file={},format=raw,if=virtio,cache=writeback", self.disk.display());
        command.args(["-drive", &disk, "-netdev", &network, "-device", "virtio-net-pci,netdev=net,romfile="]);
        command.stdin(Stdio::null());
        command
    }
}

/// The file system that the kernel begins with.
fn make_first(folder: &Path, modules: &Path, to: &Path) {
    for name in ["bin", "modules"] {
        fs::create_dir_all(folder.join(name)).expect("made");
    }
    let mut order = String::new();
    for module in MODULES {
        let (_, name) = module.rsplit_once('/').expect("has folders");
        fs::copy(modules.join(module), folder.join("modules").join(name))
            .expect("the kernel has its drivers");
        order += &format!("{name}\n");
    }
    fs::write(folder.join("modules/order"), order).expect("written");
    fs::copy("/bin/busybox", folder.join("bin/busybox")).expect("busybox-static is installed");
    fs::write(folder.join("init"), include_str!("init.sh")).expect("written");
    fs::set_permissions(folder.join("init"), Permissions::from_mode(0o755)).expect("set");
    let pack = "find . | /bin/busybox cpio -o -H newc 2> /dev/null";
    let file = fs::File::create_new(to).expect("made");
    succeed(Command::new("sh").args(["-c", pack]).current_dir(folder).stdout(file));
}

/// The agent, what it is linked with, and its configuration.
fn make_disk(root: &Path, sandbox: &Sandbox, to: &Path) {
    for name in ["data", "proc", "dev"] {
        fs::create_dir_all(root.join(name)).expect("made");
    }
    let program = env!("CARGO_BIN_EXE_revenium-agent");
    fs::copy(program, root.join("revenium-agent")).expect("copied");
    let linked = Command::new("ldd").arg(program).output().expect("runs");
    let linked = String::from_utf8(linked.stdout).expect("UTF-8");
    for library in linked.split_whitespace().filter(|word| word.starts_with('/')) {
        let copy = root.join(&library[1..]);
        fs::create_dir_all(copy.parent().expect("has a folder")).expect("made");
        fs::copy(library, copy).expect("copied");
    }
    let (_, port) = sandbox.address().rsplit_once(':').expect("has a port");
    let toml = format!(
        "data_dir = \"/data\"\nsocket.path = \"/data/agent.sock\"\nadmin.listen = \"{MACHINE}:8792\"\n\
         relay.listen = \"{MACHINE}:8793\"\nrelay.token_file = \"token\"\n\
         profiles.default.url = \"http://{OUTSIDE}:{port}\"\nprofiles.default.allow_plain_http = true\n\
         profiles.default.api_key_file = \"key\"\ndrain.requests_per_second_max = 5000\ndrain.backoff_max = \"2s\"\n\
         store.segment_bytes = \"16MiB\"\n"
    );
    for (name, text) in [("config.toml", &*toml), ("token", TOKEN), ("key", KEY)] {
        fs::write(root.join(name), text).expect("written");
        fs::set_permissions(root.join(name), Permissions::from_mode(0o600)).expect("set");
    }
    let mut make = Command::new("mkfs.ext4");
    succeed(make.args(["-q", "-F", "-d"]).arg(root).arg(to).arg(DISK_SIZE).stdout(Stdio::null()));
}

/// What lies in a folder under a name that begins so.
fn only_one(folder: &Path, begins: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap_or_else(|_| {
        panic!("no kernel in {}: run tests/machine.sh, which gets one from Debian", folder.display())
    });
    let mut all = entries.map(|entry| entry.expect("listed"));
    let found = all.find(|entry| entry.file_name().as_encoded_bytes().starts_with(begins.as_bytes()));
    found.unwrap_or_else(|| panic!("nothing like {begins}… in {}", folder.display())).path()
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}
