//! The machine's agent under its own user: members of its group, and others. Needs root, to be three users;
//! without it there is nothing to see, and it says so.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use revenium_emitter::{Emitter, Trouble};

use crate::agent::{Agent, Say, event, spool_files};

const GROUP: u32 = 54_321;
const MEMBER: u32 = 54_322;
const STRANGER: u32 = 54_323;

/// What this program does as one of those users, in the environment that the test gives it.
#[test]
fn a_user_that_a_test_became_emits_one_event() {
    let Ok(role) = std::env::var("REVENIUM_TEST_ROLE") else { return };
    let emitter = Emitter::new();
    emitter.emit(event(0));
    let report = emitter.flush(Duration::from_millis(400));
    let error = emitter.last_error();
    match &*role {
        "member, agent away" => {
            assert_eq!((report.spooled, report.in_memory), (1, 0), "{error:?}");
        }
        "member" => assert_eq!((report.durable, error), (1, None)),
        "stranger" => {
            assert_eq!((report.spooled, report.in_memory), (0, 1));
            let Some(Trouble::Denied { message, .. }) = error else { panic!("{error:?}") };
            assert!(message.contains(&format!("user {STRANGER} may not use")), "{message}");
            assert!(message.contains(&format!("for the group {GROUP}; add")), "{message}");
        }
        other => panic!("{other}"),
    }
}

fn become_user(program: &Path, dir: &Path, role: &str, uid: u32, gid: u32) {
    // As strict as umasks get: the spool's files are for the group all the same.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(program);
    command.args(["--exact", "permission::a_user_that_a_test_became_emits_one_event", "--nocapture"]);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("REVENIUM_TEST_ROLE", role)
        .current_dir(dir)
        .uid(uid)
        .gid(gid);
    command
        .env("REVENIUM_AGENT_SOCKET", dir.join("agent.sock"))
        .env("REVENIUM_AGENT_SPOOL", dir.join("spool"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_member_of_the_group_is_served_or_spools_and_a_stranger_is_told_which_group() {
    let mut agent = Agent::absent(|_| Say::Durable);
    let dir = agent.path("");
    if chown(&dir, Some(0), Some(0)).is_err() || !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be three users");
        return;
    }
    fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
    // Where the others can reach it.
    let program = agent.path("program");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(agent.spool()).unwrap();
    chown(agent.spool(), Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(agent.spool(), Permissions::from_mode(0o3730)).unwrap();

    become_user(&program, &dir, "member, agent away", MEMBER, GROUP);
    let files = spool_files(&agent.spool());
    assert_eq!(files.len(), 1);
    let meta = fs::metadata(&files[0]).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (MEMBER, GROUP, 0o640));

    agent.start();
    chown(agent.socket(), Some(0), Some(GROUP)).unwrap();
    fs::set_permissions(agent.socket(), Permissions::from_mode(0o660)).unwrap();
    become_user(&program, &dir, "member", MEMBER, GROUP);
    become_user(&program, &dir, "stranger", STRANGER, STRANGER);
    agent.wait_stored(1);
    assert_eq!(spool_files(&agent.spool()).len(), 1, "a member cannot list it, so nothing was handed in");
}
