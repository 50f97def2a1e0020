//! A machine with systemd, and the agent installed on it as a package would.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;

use crate::support::{KEY, until};

/// The machine's files are memory.
const LAYER_BYTES_MAX: &str = "1536m";

/// Mounts a layer over /, without what is enabled here, and boots it. The mounts are in a namespace of their
/// own and go with it, whatever ends the test.
const BOOT: &str = r#"
mount -t tmpfs -o size=$0 tmpfs "$1" && mkdir "$1/up" "$1/work" "$1/tree" &&
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/tree" || exit 1
for wants in multi-user timers sockets network-online; do
    rm -rf "$1/tree/etc/systemd/system/$wants.target.wants"
done
exec systemd-nspawn --quiet --register=no --keep-unit --private-network --machine="$2" \
    --directory="$1/tree" --boot --console=pipe
"#;

/// The checkout, as far as installing needs it.
const CHECKOUT: &str = "/run/checkout";
const NEEDED: [&str; 11] = [
    "config.toml",
    "revenium-agent.service",
    "revenium-agent.socket",
    "revenium-agent-relay.socket",
    "revenium-agent-gateway.socket",
    "revenium-agent-gateway.service",
    "revenium-agent-key.path",
    "revenium-agent-key.service",
    "sysusers.conf",
    "tmpfiles.conf",
    "README.md",
];

/// What a small machine needs differently.
pub(crate) const SMALL: &str = "store.segment_bytes = \"16MiB\"\nstore.free_reserve_bytes = \"1MiB\"\n\
                                drain.requests_per_second_max = 5000\n";

/// An upstream that is away.
pub(crate) const AWAY: &str = "profiles.default.url = \"http://127.0.0.1:9\"\n";

/// The program on a machine on which nothing is installed, where no service could run it.
pub(crate) const PROGRAM: &str = "/home/admin/revenium-agent";

/// How to install it without the package.
pub(crate) const BY_HAND: &str = "ops/systemd/README.md";

/// A page's commands that install the service, and those that start it.
pub(crate) fn installing(page: &str) -> (String, String) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let page = fs::read_to_string(page).expect("a page");
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block =
        blocks.into_iter().find(|block| block.contains("systemctl enable")).expect("how to install it");
    let at = block.find("systemctl enable").expect("was found");
    (block[..at].to_owned(), block[at..].to_owned())
}

/// Ended when dropped.
pub(crate) struct Machine {
    nspawn: Child,
    /// PID 1 as it is seen from here.
    init: u32,
    console: PathBuf,
    _dir: tempfile::TempDir,
    /// One machine at a time: they would share a place among the host's control groups.
    _turn: File,
}

/// How a command went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
}

impl Machine {
    /// A machine with the agent installed, configured and not started.
    pub(crate) fn new() -> Self {
        let machine = Self::boot();
        let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/systemd");
        for name in NEEDED {
            machine.copy(&ops.join(name), &format!("{CHECKOUT}/ops/systemd/{name}"), "0644");
        }
        let binary = format!("{CHECKOUT}/target/release/revenium-agent");
        machine.copy(Path::new(env!("CARGO_BIN_EXE_revenium-agent")), &binary, "0755");
        machine.run(&format!(
            "set -e; cd {CHECKOUT}; REVENIUM_METERING_API_KEY={KEY}\n{}",
            installing(BY_HAND).0
        ));
        machine.write("/etc/revenium-agent/conf.d/test.toml", "0644", &format!("{SMALL}{AWAY}"));
        machine
    }

    /// A machine with the program in root's home, and nothing of it installed.
    pub(crate) fn bare() -> Self {
        let machine = Self::boot();
        machine.copy(Path::new(env!("CARGO_BIN_EXE_revenium-agent")), PROGRAM, "0755");
        machine
    }

    /// A machine that has never seen the agent.
    pub(crate) fn boot() -> Self {
        assert!(geteuid().is_root(), "only root can boot a machine: run these tests as root");
        let dir = tempfile::tempdir_in("/run").expect("a folder");
        let turn = File::create("/run/revenium-agent-tests.lock").expect("made");
        flock(&turn, FlockOperation::LockExclusive).expect("locked");
        let console = dir.path().join("console");
        let layer = dir.path().join("layer");
        fs::create_dir(&layer).expect("made");
        let name = format!("revenium{}", std::process::id());
        let output = File::create(&console).expect("made");
        let nspawn = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "setpriv", "--pdeathsig", "TERM", "sh", "-c", BOOT])
            .arg(LAYER_BYTES_MAX)
            .arg(&layer)
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("another"))
            .stderr(output)
            .spawn()
            .expect("unshare runs");
        let mut machine = Self { nspawn, init: 0, console, _dir: dir, _turn: turn };
        machine.init = until("systemd is PID 1", || machine.find_init(), Option::is_some).expect("found");
        let state = || machine.sh("systemctl is-system-running").out;
        until("the machine is up", state, |state| ["running\n", "degraded\n"].contains(&state.as_str()));
        machine
    }

    fn find_init(&mut self) -> Option<u32> {
        if let Some(ended) = self.nspawn.try_wait().expect("asked") {
            let said = fs::read_to_string(&self.console).unwrap_or_default();
            panic!(
                "no machine can be booted here ({ended}); this needs systemd-nspawn (apt-get install \
                 systemd-container), overlayfs and the right to mount:\n{said}"
            );
        }
        let found =
            Command::new("pgrep").args(["-x", "-P", &self.nspawn.id().to_string(), "systemd"]).output();
        String::from_utf8(found.expect("pgrep runs").stdout).ok()?.trim().parse().ok()
    }

    /// A command in the machine.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.init.to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--", program]);
        command.args(args).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs a script, whatever comes of it; both outputs are one.
    pub(crate) fn sh(&self, script: &str) -> Ran {
        let script = format!("exec 2>&1\n{script}");
        let Output { status, stdout, .. } =
            self.command("sh", &["-c", &script]).stdin(Stdio::null()).output().expect("nsenter runs");
        Ran { code: status.code(), out: String::from_utf8_lossy(&stdout).into_owned() }
    }

    /// Runs a script that must succeed; what it prints.
    pub(crate) fn run(&self, script: &str) -> String {
        let ran = self.sh(script);
        assert_eq!(ran.code, Some(0), "{script}:\n{}\n{}", ran.out, self.journal());
        ran.out
    }

    /// Writes a file with this mode, and the folders above it.
    pub(crate) fn write(&self, path: &str, mode: &str, text: &str) {
        self.pour(path, mode, |stdin| stdin.write_all(text.as_bytes()).expect("written"));
    }

    pub(crate) fn copy(&self, from: &Path, to: &str, mode: &str) {
        let mut file = File::open(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        self.pour(to, mode, |stdin| _ = std::io::copy(&mut file, stdin).expect("copied"));
    }

    /// By way of a pipe, since the machine sees only what lies on the file system of /.
    fn pour(&self, path: &str, mode: &str, content: impl FnOnce(&mut std::process::ChildStdin)) {
        let script =
            "mkdir -p \"${1%/*}\" && cat > \"$1.new\" && chmod \"$2\" \"$1.new\" && mv \"$1.new\" \"$1\"";
        let mut child = self.command("sh", &["-c", script, "sh", path, mode]);
        let mut child = child.stdin(Stdio::piped()).spawn().expect("nsenter runs");
        let mut stdin = child.stdin.take().expect("piped");
        content(&mut stdin);
        drop(stdin);
        assert!(child.wait().expect("ends").success(), "cannot write {path}");
    }

    /// Adds to the unit, as `systemctl edit` does.
    pub(crate) fn drop_in(&self, text: &str) {
        self.write("/etc/systemd/system/revenium-agent.service.d/test.conf", "0644", text);
        self.run("systemctl daemon-reload");
    }

    pub(crate) fn start(&self) {
        self.run("systemctl start revenium-agent");
    }

    /// A property of the service.
    pub(crate) fn show(&self, property: &str) -> String {
        self.run(&format!("systemctl show revenium-agent -p {property} --value")).trim().to_owned()
    }

    /// Returns once the property is as wanted.
    pub(crate) fn wait_show(&self, property: &str, holds: impl Fn(&str) -> bool) -> String {
        until(property, || self.show(property), |value| holds(value))
    }

    /// What `revenium-agent status --json` tells root.
    pub(crate) fn status(&self) -> Value {
        let ran = self.sh("revenium-agent status --json");
        serde_json::from_str(&ran.out).unwrap_or(Value::Null)
    }

    /// Returns once the agent is ready and so many events are in its log, waiting or delivered.
    pub(crate) fn wait_stored(&self, events: u64) {
        let count = |status: &Value| {
            let of = |name: &str| status["profiles"][0][name].as_u64();
            Some(of("waiting")? + of("delivered")? + of("dead")?)
        };
        until("events in the log", || count(&self.status()), |stored| *stored >= Some(events));
        let status = self.status();
        assert_eq!((count(&status), status["imbalance"].as_u64()), (Some(events), Some(0)), "{status}");
    }

    /// A path in the machine, as it is seen from here while the machine runs.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    pub(crate) fn journal(&self) -> String {
        self.sh("journalctl --no-pager -o short-monotonic -u 'revenium*' -u sandbox | tail -60").out
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let init = i32::try_from(self.init).ok().and_then(Pid::from_raw);
        if init.is_some() {
            self.sh("systemctl poweroff");
        }
        if !self.ends_within(Duration::from_secs(15)) {
            // The end of its PID 1 is the machine's; nspawn's alone would leave it running.
            let _ = init.map(|init| kill_process(init, Signal::KILL));
            let _ = kill_process(Pid::from_child(&self.nspawn), Signal::TERM);
            self.ends_within(Duration::from_secs(5));
        }
    }
}

impl Machine {
    fn ends_within(&mut self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        loop {
            match self.nspawn.try_wait() {
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
                Ok(None) => return false,
                _ => return true,
            }
        }
    }
}
