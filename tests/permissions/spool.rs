//! A spool that members share: they leave files, the agent takes them, nobody takes another's.

use std::fs;
use std::path::Path;

use crate::support::{SpoolFile, spool_files, until};
use crate::world::{AGENT, As, GROUP, MEMBER, OTHER_MEMBER, ROOT, STRANGER, World, mode, text};

/// Leaves a file as a sender does, with this mode.
fn leave(world: &World, user: As, file: &SpoolFile, umask: &str) -> bool {
    let name = file.name();
    let text = file.text.replace('\'', "'\\''");
    let script = format!("cd spool; printf '%s' '{text}' > .{name}; mv .{name} {name}");
    world.command(user, umask, &script).output().expect("setpriv runs").status.success()
}

fn with_spool(owner: As, mode: u32, more: &str) -> Option<World> {
    let world = World::new()?;
    let dir = world.folder("spool", owner, mode);
    world.configure(&format!("spool.dirs = [\"{}\"]\n{more}", dir.display()));
    Some(world)
}

fn wait_taken(dir: &Path, left: &[String]) {
    until("taken", || spool_files(dir), |files| files == left);
}

/// What `status` says of the spool, as the agent's user.
fn status(world: &World) -> serde_json::Value {
    let asked = world.sh(AGENT, "\"$0\" status --json --config config.toml || true");
    let status: serde_json::Value = serde_json::from_slice(&asked.stdout).expect("a status");
    serde_json::json!([status["profiles"][0]["waiting"], status["spool"]["left_alone"]])
}

#[test]
fn members_leave_files_that_the_agent_takes_and_nobody_else_may() {
    let Some(world) = with_spool(AGENT, 0o3730, "") else { return };
    let dir = world.path("spool");
    let (one, other) = (SpoolFile::with_events(1, 1, 10), SpoolFile::with_events(2, 1, 10));
    assert!(leave(&world, MEMBER, &one, "027"));
    assert_eq!(mode(&dir.join(one.name())), (0o640, MEMBER.0, GROUP), "the folder gives its group");
    assert!(leave(&world, OTHER_MEMBER, &other, "027"));
    assert!(!leave(&world, STRANGER, &SpoolFile::with_events(3, 1, 1), "022"));
    let name = other.name();
    for attempt in [format!("rm -f spool/{name}"), format!("mv spool/{name} spool/x"), "ls spool".to_owned()]
    {
        assert!(!world.sh(MEMBER, &attempt).status.success(), "{attempt}");
    }
    let agent = world.start(AGENT, "022");
    wait_taken(&dir, &[]);
    until("indexed", || status(&world), |status| *status == serde_json::json!([20, 0]));
    // A file that only its owner may read is no reason to stop, and is said once.
    let closed = SpoolFile::with_events(4, 1, 1);
    assert!(leave(&world, MEMBER, &closed, "077"));
    agent.wait_for("chmod g+r");
    assert!(leave(&world, MEMBER, &SpoolFile::with_events(1, 11, 1), "027"));
    wait_taken(&dir, &[closed.name()]);
    assert_eq!(mode(&dir), (0o3730, AGENT.0, GROUP));
    let (code, log) = agent.stop();
    assert_eq!((code, log.matches("chmod g+r").count()), (Some(0), 1), "{log}");
    assert!(log.contains(&format!("uid={}", MEMBER.0)), "whose it was is told: {log}");
}

#[test]
fn files_of_users_who_may_not_send_are_left_alone() {
    let Some(world) = with_spool(AGENT, 0o3730, &format!("socket.allow_uids = [{}]\n", MEMBER.0)) else {
        return;
    };
    let dir = world.path("spool");
    let not_allowed = SpoolFile::with_events(2, 1, 10);
    assert!(leave(&world, OTHER_MEMBER, &not_allowed, "027"));
    assert!(leave(&world, MEMBER, &SpoolFile::with_events(1, 1, 10), "027"));
    let agent = world.start(AGENT, "022");
    wait_taken(&dir, &[not_allowed.name()]);
    until("told", || status(&world), |status| *status == serde_json::json!([10, 1]));
    let (_, log) = agent.stop();
    assert_eq!(log.matches("user 9 may not send events here").count(), 1, "{log}");
}

#[test]
fn in_a_folder_that_everybody_may_write_to_a_group_is_no_proof() {
    let more = format!("socket.allow_gids = [{GROUP}]\n");
    let Some(world) = with_spool(AGENT, 0o3777, &more) else { return };
    let dir = world.path("spool");
    let file = SpoolFile::with_events(2, 1, 10);
    assert!(leave(&world, STRANGER, &file, "022"));
    assert_eq!(mode(&dir.join(file.name())).2, GROUP, "the folder gave it the group");
    let agent = world.start(AGENT, "022");
    agent.wait_for("user 65534 may not send events here");
    assert_eq!(spool_files(&dir), [file.name()]);
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_file_that_cannot_be_removed_is_stored_once_and_not_read_again() {
    // Sticky, and root's: the agent may read, and not remove.
    let Some(world) = with_spool(As(0, GROUP, &[]), 0o3770, "") else { return };
    let dir = world.path("spool");
    let file = SpoolFile::with_events(1, 1, 10);
    assert!(leave(&world, MEMBER, &file, "027"));
    let agent = world.start(AGENT, "022");
    agent.wait_for("cannot be removed");
    let log = agent.log();
    assert!(log.contains("in a sticky folder only its owner may") && log.contains("user www-data"), "{log}");
    // Looks go on: a later file is met.
    assert!(leave(&world, OTHER_MEMBER, &SpoolFile::with_events(2, 1, 10), "027"));
    until("indexed", || status(&world), |status| *status == serde_json::json!([20, 2]));
    let (_, log) = agent.stop();
    assert_eq!(log.matches("a spool file cannot be removed").count(), 2, "{log}");
    // After a restart it is read once more, and known.
    let agent = world.start(AGENT, "022");
    agent.wait_for("cannot be removed");
    until("indexed", || status(&world), |status| *status == serde_json::json!([20, 2]));
    assert_eq!(agent.stop().0, Some(0));
    assert_eq!(fs::read_to_string(dir.join(file.name())).expect("there"), file.text);
}

#[test]
fn a_folder_that_others_control_is_refused_by_name_and_the_agent_runs_on() {
    for (owner, mode, words) in [
        (STRANGER, 0o755, "belongs to user nobody"),
        (AGENT, 0o777, "may be written by everybody (mode 0777)"),
    ] {
        let Some(world) = with_spool(owner, mode, "") else { return };
        let file = SpoolFile::with_events(1, 1, 10);
        assert!(leave(&world, STRANGER, &file, "022"));
        let agent = world.start(AGENT, "022");
        agent.wait_for(words);
        assert_eq!(world.send(MEMBER).status.code(), Some(0));
        assert_eq!(spool_files(&world.path("spool")), [file.name()]);
        let (code, log) = agent.stop();
        assert_eq!((code, log.matches(words).count()), (Some(0), 1), "{log}");
    }
}

#[test]
fn a_member_hands_in_its_own_files_and_leaves_those_of_others() {
    let Some(world) = with_spool(MEMBER, 0o755, "") else { return };
    world.configure("spool.dirs = []\n");
    let dir = world.path("spool");
    let (own, of_root) = (SpoolFile::with_events(1, 1, 10), SpoolFile::with_events(2, 1, 10));
    assert!(leave(&world, MEMBER, &own, "077") && leave(&world, ROOT, &of_root, "022"));
    let agent = world.start(AGENT, "022");
    let send = format!("exec \"$0\" send --spool spool --socket {}", world.socket().display());
    let sent = world.sh(MEMBER, &send);
    let said = text(&sent.stderr);
    assert_eq!(
        (sent.status.code(), &*text(&sent.stdout)),
        (Some(0), "durable: 10 events of 1 file\n"),
        "{said}"
    );
    assert!(said.contains("left alone: it belongs to user root"), "{said}");
    assert_eq!(spool_files(&dir), [of_root.name()]);
    // Somebody else's folder is not handed in at all.
    let sent = world.sh(OTHER_MEMBER, &send);
    assert_eq!(sent.status.code(), Some(2));
    assert!(text(&sent.stderr).contains("belongs to user games"), "{}", text(&sent.stderr));
    assert_eq!(agent.stop().0, Some(0));
}
