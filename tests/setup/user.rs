//! A user with a home of their own, who is not root whoever runs the tests.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::geteuid;

use crate::support::Sandbox;

pub(crate) struct User {
    dir: tempfile::TempDir,
    /// Root is a user here by a namespace, which this process holds.
    namespace: Option<Child>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl User {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["home", "run"] {
            fs::create_dir(dir.path().join(name)).expect("made");
        }
        Self { dir, namespace: geteuid().is_root().then(namespace) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file in the folder of the configuration.
    pub(crate) fn config(&self, name: &str) -> PathBuf {
        self.path("home/.config/revenium-agent").join(name)
    }

    pub(crate) fn unit(&self) -> PathBuf {
        self.path("home/.config/systemd/user/revenium-agent.service")
    }

    /// Any program, as this user, without root's rights.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = match &self.namespace {
            Some(holder) => {
                let mut command = Command::new("nsenter");
                let holder = holder.id().to_string();
                command.args(["--user", "--preserve-credentials", "--target", &holder, "--", program]);
                command
            }
            None => Command::new(program),
        };
        command.args(args).env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path("home")).env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    pub(crate) fn agent(&self, args: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_revenium-agent"), args)
    }

    /// `setup` with this key in the environment and these arguments.
    pub(crate) fn setup(&self, key: &str, args: &[&str]) -> Ended {
        let mut command = self.agent(&["setup"]);
        command.args(args).env("REVENIUM_METERING_API_KEY", key).output().expect("runs").into()
    }

    /// A stand-in that takes this key.
    pub(crate) fn sandbox(&self, key: &str) -> Sandbox {
        Sandbox::start(&self.path("journal"), &["--key", &format!("{key}=team"), "--rate-limit", "0"])
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(holder) = &mut self.namespace {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// A process in a namespace of its own, once it is there.
fn namespace() -> Child {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-user=1000",
        "--map-group=1000",
        "--",
        "sh",
        "-c",
        "echo; exec sleep infinity",
    ]);
    let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
    let stdout = holder.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut String::new()).expect("it is there");
    holder
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn mode(path: &Path) -> u32 {
    let meta = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    meta.permissions().mode() & 0o7777
}

/// What changes when a file is written, even with the same bytes.
pub(crate) fn identity(path: &Path) -> (u64, i64, i64) {
    let meta = fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}
