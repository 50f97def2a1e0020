//! An agent was run as root once, and what it made is root's.

use std::fs;

use crate::world::{AGENT, MEMBER, ROOT, World, text};

#[test]
fn a_data_directory_that_root_used_is_named_with_the_command_that_mends_it() {
    let Some(world) = World::new() else { return };
    world.folder("run", ROOT, 0o755);
    let agent = world.start(ROOT, "022");
    assert_eq!(world.send(ROOT).status.code(), Some(0));
    assert_eq!(agent.stop().0, Some(0));
    world.folder("run", AGENT, 0o755);
    let data = world.path("state/data");
    let (code, log) = world.begin(AGENT, "022", "", "log").end();
    let path = data.canonicalize().expect("there");
    let command = format!("chown -R www-data {}", path.display());
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("belongs to user root, and this agent runs as user www-data"), "{log}");
    assert!(log.contains(&command), "{command}: {log}");
    // Half of it is not enough: the next thing is named as well.
    let chowned = world.sh(ROOT, &format!("chown www-data {}", data.display()));
    assert!(chowned.status.success());
    let (code, log) = world.begin(AGENT, "022", "", "log").end();
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("data/store belongs to user root") && log.contains(&command), "{log}");
    assert!(world.sh(ROOT, &command).status.success());
    let agent = world.start(AGENT, "022");
    assert_eq!(world.send(MEMBER).status.code(), Some(0));
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_socket_that_root_left_is_named_with_the_command_that_mends_it() {
    let Some(world) = World::new() else { return };
    world.folder("run", ROOT, 0o755);
    // Killed, so that its socket stays.
    world.start(ROOT, "022").kill();
    fs::remove_dir_all(world.path("state/data")).expect("removed");
    let (code, log) = world.begin(AGENT, "022", "", "log").end();
    assert_eq!(code, Some(74), "{log}");
    assert!(
        log.contains("run/agent.sock belongs to user root, and this agent runs as user www-data"),
        "{log}"
    );
    assert!(log.contains("chown -R www-data "), "{log}");
    // Without the socket, the folder is in the way.
    fs::remove_file(world.socket()).expect("removed");
    let (code, log) = world.begin(AGENT, "022", "", "log").end();
    assert_eq!(code, Some(74), "{log}");
    assert!(log.contains("/run belongs to user root"), "{log}");
    let chowned = world.sh(ROOT, "chown -R www-data:users run");
    assert!(chowned.status.success(), "{}", text(&chowned.stderr));
    let agent = world.start(AGENT, "022");
    assert_eq!(world.send(MEMBER).status.code(), Some(0));
    assert_eq!(agent.stop().0, Some(0));
}
