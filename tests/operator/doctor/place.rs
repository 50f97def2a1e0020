//! Faults of this machine: sockets, spool, disk, owner.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;

use revenium_emitter::link::connect_now;

use super::report::Report;
use super::standin::{StandIn, answer, home};
use crate::support::{Home, SpoolFile};

/// A folder whose upstream is well.
fn place(more: &str) -> Home {
    home(&StandIn::answering(&answer("400 Bad Request", "", "{}")).url(), more)
}

#[test]
fn a_socket_that_is_none_or_that_a_killed_agent_left_is_told() {
    let home = place("");
    fs::write(home.socket(), "").expect("written");
    let report = Report::of(&home, &[]);
    report.planted("socket", "problem", &["it is not a socket", "mv "]);
    assert_eq!(report.code, Some(1));
    fs::remove_file(home.socket()).expect("removed");
    home.start().kill();
    Report::of(&home, &[]).planted(
        "socket",
        "problem",
        &["nobody listens: Connection refused", "start the agent"],
    );
    let agent = home.start();
    fs::remove_file(home.socket()).expect("removed");
    let elsewhere = home.path("elsewhere.sock").display().to_string();
    Report::of(&home, &["--socket", &elsewhere]).planted(
        "socket",
        "problem",
        &["an agent runs, and its socket is not"],
    );
    agent.stop();
}

#[test]
fn a_socket_that_has_no_room_for_one_more_is_told() {
    let home = place("");
    let agent = home.start();
    let full = home.path("full.sock");
    let listener = UnixListener::bind(&full).expect("bound");
    rustix::net::listen(&listener, 1).expect("set");
    let waiting: Vec<_> = std::iter::from_fn(|| connect_now(&full).ok()).collect();
    let again = connect_now(&full).expect_err("it is full");
    assert_eq!((waiting.is_empty(), again.kind()), (false, ErrorKind::WouldBlock));
    let words = ["somebody listens, and takes no connection now", "`revenium-agent status`"];
    Report::of(&home, &["--socket", &full.display().to_string()]).planted("socket", "warning", &words);
    agent.stop();
}

#[test]
fn a_group_that_is_missing_on_the_machine_is_told() {
    let home = place("spool.dirs = []\n");
    let script = "grep -v ^revenium: /etc/group > group; mount --bind group /etc/group; \
                  exec \"$@\" --socket /run/revenium/agent.sock";
    let Some(report) = Report::in_namespaces(&home, &[], script) else { return };
    report.planted(
        "socket.group",
        "warning",
        &["has no group revenium", "systemd-sysusers revenium-agent.conf"],
    );
}

#[test]
fn a_spool_that_anybody_could_change_or_in_which_something_is_stuck_is_told() {
    let home = place("");
    let spool = home.path("spool");
    fs::create_dir(&spool).expect("made");
    fs::set_permissions(&spool, Permissions::from_mode(0o777)).expect("mode set");
    Report::of(&home, &[]).planted(
        "spool",
        "problem",
        &["may be written by everybody (mode 0777)", "`chmod +t "],
    );
    fs::set_permissions(&spool, Permissions::from_mode(0o700)).expect("mode set");
    assert_eq!(Report::of(&home, &[]).level("spool"), "ok");
    let file = SpoolFile::with_events(1, 1, 1);
    fs::write(spool.join(file.name()), &file.text).expect("written");
    Report::of(&home, &[]).planted("spool", "warning", &["1 files wait for an agent", "start the agent"]);
    fs::write(spool.join("notes.txt"), "").expect("written");
    Report::of(&home, &[]).planted("spool", "warning", &["notes.txt: its name is not a spool file's"]);
    fs::remove_dir_all(&spool).expect("removed");
    fs::create_dir_all(home.path("data/spool-quarantine")).expect("made");
    fs::write(home.path("data/spool-quarantine/1"), "no event\n").expect("written");
    Report::of(&home, &[]).planted("spool", "warning", &["1 files of bad lines are kept", "send -"]);
}

#[test]
fn a_file_system_that_is_read_only_is_told() {
    let home = place("");
    fs::create_dir(home.path("data")).expect("made");
    let script = "mount -t tmpfs -o ro none data; exec \"$@\"";
    let Some(report) = Report::in_namespaces(&home, &[], script) else { return };
    let findings = report.findings.iter().filter(|finding| finding["id"] == "disk.write");
    let found: Vec<_> = findings.collect();
    assert_eq!(found[0]["level"], "problem", "{found:?}");
    report.planted("disk.write", "problem", &["is mounted read-only", "findmnt -T", "mount -o remount,rw"]);
}

#[test]
fn a_data_directory_that_is_a_file_is_told() {
    let home = place("");
    fs::write(home.path("data"), "").expect("written");
    Report::of(&home, &[]).planted("disk.write", "problem", &["data is not a folder", "another data_dir"]);
}

#[test]
fn a_log_that_another_user_wrote_in_is_told_with_the_command() {
    let home = place("");
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may give files away");
        return;
    }
    let store = home.path("data/store");
    fs::create_dir_all(&store).expect("made");
    fs::write(store.join("ballast"), "").expect("written");
    chown(store.join("ballast"), Some(33), Some(33)).expect("given");
    let chown = format!("chown -R root {}", home.path("data").display());
    let words = ["data/store/ballast belongs to user www-data, and the agent is user root's", &chown];
    Report::of(&home, &[]).planted("store.owner", "problem", &words);
}

#[test]
fn a_disk_without_room_for_the_reserve_or_for_the_log_is_told() {
    let home = place("");
    let size = |capacity: &str, reserve: &str| {
        let toml = fs::read_to_string(home.path("config.toml")).expect("read");
        let kept = toml.lines().filter(|line| !line.starts_with("store.")).map(|line| format!("{line}\n"));
        let kept: String = kept.collect();
        let more =
            format!("store.capacity_bytes = \"{capacity}\"\nstore.free_reserve_bytes = \"{reserve}\"\n");
        home.write("config.toml", &format!("{kept}{more}"));
        Report::of(&home, &[])
    };
    let words = ["free for it: it is full first", "lower store.capacity_bytes"];
    size("64TiB", "1MiB").planted("disk.space", "warning", &words);
    let words = ["less than the reserve of 1.0 TiB: events are refused soon", "make room"];
    size("1GiB", "1TiB").planted("disk.space", "problem", &words);
}

#[test]
fn a_file_system_that_keeps_nothing_is_told() {
    let home = place("");
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let data = dir.path().join("data").display().to_string();
    let report = Report::of(&home, &["--data-dir", &data]);
    report.planted("disk.guarantee", "warning", &["tmpfs is memory", "put data_dir on a disk"]);
    assert_eq!(report.code, Some(0));
}
