//! A folder that every user can reach, with the binary in it, and commands as one of them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::support::{KEY, until};

/// A user as a process has it: user, own group, further groups.
#[derive(Debug, Clone, Copy)]
pub(crate) struct As(pub(crate) u32, pub(crate) u32, pub(crate) &'static [u32]);

/// The group `users`, which stands for `revenium`.
pub(crate) const GROUP: u32 = 100;
/// `www-data`, which runs the agent.
pub(crate) const AGENT: As = As(33, GROUP, &[]);
/// `games`, a member by a further group, as it is after `usermod -aG`.
pub(crate) const MEMBER: As = As(5, 60, &[GROUP]);
/// `news`, another one.
pub(crate) const OTHER_MEMBER: As = As(9, 9, &[GROUP]);
/// `nobody`, who is none.
pub(crate) const STRANGER: As = As(65_534, 65_534, &[]);
pub(crate) const ROOT: As = As(0, 0, &[]);

pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// A running agent; killed if a test fails before it is stopped.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl World {
    /// `None` without root: the test is skipped, and says so.
    pub(crate) fn new() -> Option<Self> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root may become the users of this test");
            return None;
        }
        // Not in /tmp, where a client trusts no socket in another user's folder.
        let dir = tempfile::tempdir_in("/var/tmp").expect("a folder");
        let world = Self { dir };
        fs::set_permissions(world.dir.path(), Permissions::from_mode(0o755)).expect("open");
        fs::copy(env!("CARGO_BIN_EXE_revenium-agent"), world.path("revenium-agent")).expect("copied");
        for (name, mode) in [("run", 0o750), ("state", 0o700), ("home", 0o700)] {
            world.folder(name, AGENT, mode);
        }
        fs::write(world.path("key"), KEY).expect("written");
        chown(world.path("key"), Some(AGENT.0), Some(AGENT.1)).expect("given");
        fs::set_permissions(world.path("key"), Permissions::from_mode(0o600)).expect("closed");
        world.configure("");
        Some(world)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("run/agent.sock")
    }

    /// Makes a folder with this owner and mode.
    pub(crate) fn folder(&self, name: &str, owner: As, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("made");
        chown(&path, Some(owner.0), Some(owner.1)).expect("given");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("mode set");
        path
    }

    /// An agent whose upstream is away: what matters here is what becomes durable.
    pub(crate) fn configure(&self, more: &str) {
        let toml = format!(
            "data_dir = \"state/data\"\nsocket.path = \"run/agent.sock\"\nadmin.listen = \"\"\n\
             store.segment_bytes = \"16MiB\"\nprofiles.default.api_key_file = \"key\"\n\
             profiles.default.url = \"http://127.0.0.1:1\"\n{more}"
        );
        fs::write(self.path("config.toml"), toml).expect("written");
    }

    /// A shell script as this user; `$0` is the binary. It begins with a umask as the user's would be.
    pub(crate) fn command(&self, user: As, umask: &str, script: &str) -> Command {
        let As(uid, gid, groups) = user;
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        if groups.is_empty() {
            command.arg("--clear-groups");
        } else {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            command.arg(format!("--groups={}", groups.join(",")));
        }
        command.args(["sh", "-ec", &format!("umask {umask}; {script}")]).arg(self.path("revenium-agent"));
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path("home"));
        command
    }

    pub(crate) fn sh(&self, user: As, script: &str) -> Output {
        self.command(user, "022", script).output().expect("setpriv runs")
    }

    /// Sends one event to the socket as this user.
    pub(crate) fn send(&self, user: As) -> Output {
        let socket = self.socket();
        let flags = "--model m --provider Anthropic --input-tokens 1 --output-tokens 1 --timeout 20s";
        self.sh(user, &format!("exec \"$0\" send --socket {} {flags}", socket.display()))
    }

    /// Starts the agent and returns at once.
    pub(crate) fn begin(&self, user: As, umask: &str, args: &str, log: &str) -> Running {
        let command = self.command(user, umask, &format!("exec \"$0\" run --config config.toml {args}"));
        self.launch(command, log)
    }

    /// Starts an agent by `command`, and returns at once.
    pub(crate) fn launch(&self, mut command: Command, log: &str) -> Running {
        let log = self.path(log);
        let stderr = File::create(&log).expect("made");
        let child = command.stdout(Stdio::null()).stderr(stderr).spawn().expect("starts");
        Running { child, log }
    }

    /// Starts the agent and returns once it is up.
    pub(crate) fn start(&self, user: As, umask: &str) -> Running {
        let running = self.begin(user, umask, "", "log");
        running.wait_for(": started");
        running
    }
}

impl Running {
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    pub(crate) fn wait_for(&self, text: &str) {
        until(text, || self.log(), |log| log.contains(text));
    }

    /// Asks it to stop, and returns its exit code and log.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("is running");
        let code = self.child.wait().expect("ends").code();
        (code, self.log())
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("is running");
        self.child.wait().expect("ends");
    }

    /// Waits for an end of its own; exit code and log.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("ends").code();
        (code, self.log())
    }

    /// Its exit code, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().expect("asked").and_then(|status| status.code())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Errors if it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Mode, user and group of a path.
pub(crate) fn mode(path: &Path) -> (u32, u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let found = fs::symlink_metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (found.mode() & 0o7777, found.uid(), found.gid())
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
