//! The Debian package on a machine that has never seen the agent: installed, upgraded, removed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use crate::load::Load;
use crate::machine::{AWAY, Machine, Ran, SMALL, installing};
use crate::support::{KEY, Line, completion};

/// What a setup enables.
pub(crate) const UNITS: &str = "revenium-agent.socket revenium-agent-key.path revenium-agent.service";

/// A machine, and the package in two revisions.
pub(crate) struct Debian {
    pub(crate) machine: Machine,
}

impl Debian {
    pub(crate) fn new() -> Self {
        let machine = Machine::boot();
        // Where this machine keeps packages from starting things, that one does not.
        machine.run("rm -f /usr/sbin/policy-rc.d");
        machine.copy(&package("1"), "/srv/1.deb", "0644");
        Self { machine }
    }

    /// Puts a key there, and what a small machine needs differently.
    pub(crate) fn configure(&self) {
        self.machine.write("/etc/revenium-agent/key", "0600", KEY);
        self.machine.write("/etc/revenium-agent/conf.d/test.toml", "0644", &format!("{SMALL}{AWAY}"));
    }

    /// A machine on which the agent runs, since it found a key.
    pub(crate) fn running() -> Self {
        let debian = Self::new();
        debian.configure();
        debian.install("1");
        debian.machine.wait_show("SubState", |state| state == "running");
        debian
    }

    /// What installing it says.
    pub(crate) fn install(&self, revision: &str) -> String {
        self.machine.run(&format!("dpkg --install /srv/{revision}.deb"))
    }

    pub(crate) fn purge(&self, environment: &str) -> Ran {
        self.machine.sh(&format!("{environment} dpkg --purge revenium-agent"))
    }

    /// Sends so many events; each is durable.
    pub(crate) fn send(&self, events: usize) {
        let mut line = Line::connect(&self.machine.path("/run/revenium/agent.sock"));
        for _ in 0..events {
            assert_eq!(line.ask(&completion("m"))["ok"], true);
        }
    }
}

/// The package as a release makes it, of the binary that is tested; made once for all that see the same files.
pub(crate) fn package(revision: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("package-{revision}"));
    fs::create_dir_all(&output).expect("made");
    let turn = File::create(output.join("lock")).expect("made");
    flock(&turn, FlockOperation::LockExclusive).expect("locked");
    let package = output.join(format!("revenium-agent_{}-{revision}_amd64.deb", env!("CARGO_PKG_VERSION")));
    let newer = Command::new("find")
        .args([
            "ops",
            "Cargo.toml",
            "README.md",
            "CHANGELOG.md",
            env!("CARGO_BIN_EXE_revenium-agent"),
            "-newer",
        ])
        // Written last.
        .arg(output.join("SHA256SUMS"))
        .current_dir(root)
        .output()
        .expect("find runs");
    if newer.status.success() && newer.stdout.is_empty() {
        return package;
    }
    let made = Command::new(root.join("ops/release.sh"))
        .args([
            "--binary",
            env!("CARGO_BIN_EXE_revenium-agent"),
            "--fast",
            "--revision",
            revision,
            "--output",
        ])
        .arg(&output)
        .output()
        .expect("bash runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    package
}

/// `enabled` or `disabled`, and whether it is active.
fn states(machine: &Machine) -> String {
    machine.sh(&format!("systemctl is-enabled {UNITS} | sort -u; systemctl is-active {UNITS} | sort -u")).out
}

#[test]
fn the_readmes_package_starts_nothing_until_there_is_a_key_and_says_what_is_next() {
    let debian = Debian::new();
    let Debian { machine } = &debian;
    // As the README says, after ops/release.sh.
    let (install, start) = installing("README.md");
    let (made, install) = install.split_once('\n').expect("several commands");
    let (check, install) = install.split_once('\n').expect("several commands");
    let (install, key) = install.split_once('\n').expect("several commands");
    assert_eq!(made, "ops/release.sh");
    let dist = package("1");
    machine.run("mkdir -p /srv/target/dist");
    for file in fs::read_dir(dist.parent().expect("a folder")).expect("made").flatten() {
        let to = format!("/srv/target/dist/{}", file.file_name().display());
        machine.copy(&file.path(), &to, "0644");
    }
    let checked = machine.run(&format!("cd /srv; {check}"));
    assert!(checked.contains("revenium-agent_0.1.0-1_amd64.deb: OK\n"), "{checked}");
    let said = machine.run(&format!("cd /srv; {install}"));
    let next = "revenium-agent is installed and not started. Next: revenium-agent setup";
    assert!(said.contains(next), "{said}");
    assert_eq!(states(machine), "disabled\ninactive\n");
    let made = "stat -c '%a %U %G' /var/spool/revenium; id -un revenium; id -gn revenium";
    assert_eq!(machine.run(made), "3730 revenium revenium\nrevenium\nrevenium\n");
    assert!(machine.run("dpkg --verify revenium-agent; man -w revenium-agent-dlq").contains("man1"));

    machine.write("/etc/revenium-agent/conf.d/test.toml", "0644", &format!("{SMALL}{AWAY}"));
    let said = machine.run(&format!("REVENIUM_METERING_API_KEY={KEY}\n{key}{start}"));
    assert!(said.contains("Active: active (running)"), "{said}");
    assert_eq!(states(machine), "enabled\nactive\n");
    debian.send(1);
    machine.wait_stored(1);
}

#[test]
fn an_upgrade_under_load_refuses_nobody_loses_nothing_and_keeps_what_was_edited() {
    let debian = Debian::running();
    let Debian { machine } = &debian;
    machine.copy(&package("2"), "/srv/2.deb", "0644");
    machine.run("echo '# edited' >> /etc/revenium-agent/config.toml");
    let pid = machine.show("MainPID");
    let load = Load::begin(machine);
    load.wait_more(200);
    debian.install("2");
    load.wait_more(200);
    let sent = load.finish();
    let refused = [ErrorKind::ConnectionRefused, ErrorKind::NotFound];
    assert!(!sent.failures.iter().any(|kind| refused.contains(kind)), "{:?}", sent.failures);
    machine.wait_stored(sent.events);
    assert_ne!(machine.show("MainPID"), pid, "the new one runs");
    assert_eq!(machine.show("NRestarts"), "0");
    assert!(machine.run("dpkg-query -W revenium-agent").ends_with("-2\n"));
    assert!(machine.run("cat /etc/revenium-agent/config.toml").ends_with("# edited\n"));
}

#[test]
fn a_removed_agent_s_events_are_found_by_the_next_and_a_stopped_one_is_not_started_by_an_upgrade() {
    let debian = Debian::running();
    let Debian { machine } = &debian;
    debian.send(3);
    let said = machine.run("dpkg --remove revenium-agent");
    assert!(said.contains("/var/lib/revenium-agent: 3 events that wait\n"), "{said}");
    assert_eq!(machine.sh("systemctl is-active revenium-agent.socket").out, "inactive\n");
    debian.install("1");
    machine.wait_stored(3);
    assert_eq!(states(machine), "enabled\nactive\n");

    machine.run(&format!("systemctl disable --now {UNITS}"));
    machine.run("cp /usr/lib/systemd/system/revenium-agent.service /etc/systemd/system/");
    let said = debian.install("1");
    assert_eq!(states(machine), "disabled\ninactive\n");
    assert!(
        said.contains("/etc/systemd/system/revenium-agent.service is used in place of the package's"),
        "{said}"
    );
}

#[test]
fn the_shells_complete_what_the_package_installed() {
    let debian = Debian::new();
    debian.install("1");
    debian.machine.write("/run/complete", "0644", COMPLETE);
    assert_eq!(debian.machine.run("bash -e /run/complete"), "doctor\n");
    let others = "/usr/share/zsh/vendor-completions/_revenium-agent \
                  /usr/share/fish/vendor_completions.d/revenium-agent.fish";
    debian.machine.run(&format!("for file in {others}; do grep -q doctor $file || exit 1; done"));
}

#[test]
fn a_user_that_is_missing_is_made_again_by_an_upgrade() {
    let debian = Debian::new();
    debian.install("1");
    debian.machine.run("userdel revenium; groupdel revenium 2> /dev/null; ! getent group revenium");
    debian.install("1");
    assert_eq!(debian.machine.run("id -un revenium; id -gn revenium"), "revenium\nrevenium\n");
}

#[test]
fn where_systemd_does_not_run_it_is_installed_and_purged_all_the_same() {
    let debian = Debian::new();
    debian.configure();
    // As in the image of a container, for which nothing but files counts.
    let without = "unshare --mount sh -ec 'mount -t tmpfs tmpfs /run/systemd";
    debian.machine.run(&format!("{without}; dpkg --install /srv/1.deb'"));
    assert_eq!(states(&debian.machine), "enabled\ninactive\n");
    debian.machine.run(&format!("{without}; dpkg --purge revenium-agent'"));
    assert_eq!(debian.machine.run("find /etc/systemd -name '*revenium*'"), "");
}

/// What bash makes of `revenium-agent doc` and the key for more.
const COMPLETE: &str = r#"
. /usr/share/bash-completion/completions/revenium-agent
spec=$(complete -p revenium-agent)
completer=$(echo "$spec" | sed 's/.*-F \([^ ]*\).*/\1/')
COMP_WORDS=(revenium-agent doc)
COMP_CWORD=1
"$completer" revenium-agent doc revenium-agent || true
echo "${COMPREPLY[@]}"
"#;
