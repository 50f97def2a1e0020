//! What doctor tells whom: the agent's user, a member, anybody else, and root on behalf of them all.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::Value;

use crate::world::{AGENT, As, MEMBER, ROOT, STRANGER, World, text};

/// What was found with this id: level, cause and next step.
fn finding(world: &World, user: As, id: &str) -> (String, String) {
    let asked = world.sh(user, "exec \"$0\" doctor --offline --json --config config.toml");
    let said = text(&asked.stdout);
    let findings: Vec<Value> =
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{}", text(&asked.stderr)));
    let found =
        findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("no {id}: {said}"));
    let of = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
    (of("level"), format!("{} -> {}", of("cause"), of("next")))
}

#[test]
fn doctor_says_who_may_send_and_what_it_may_not_look_at() {
    let Some(world) = World::new() else { return };
    world.folder("run", AGENT, 0o755);
    let agent = world.start(AGENT, "022");
    for user in [AGENT, MEMBER, ROOT] {
        assert_eq!(finding(&world, user, "socket.group").0, "ok", "{user:?}");
    }
    let (level, said) = finding(&world, STRANGER, "socket.group");
    assert_eq!(level, "problem");
    assert!(said.contains("it is for group users; add the user: `usermod -aG users nobody`"), "{said}");
    for id in ["agent", "store.owner", "disk.write", "key.permission"] {
        assert_eq!(finding(&world, AGENT, id).0, "ok", "{id}");
        assert_eq!(finding(&world, ROOT, id).0, "ok", "{id}");
        let (level, said) = finding(&world, MEMBER, id);
        assert_eq!(level, "unknown", "{id}: {said}");
        assert!(said.contains("run doctor as root or user www-data"), "{id}: {said}");
    }
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn doctor_names_a_key_that_the_agent_may_not_read() {
    let Some(world) = World::new() else { return };
    let key = world.path("key");
    chown(&key, Some(0), Some(0)).expect("given");
    world.folder("state/data", AGENT, 0o700);
    for user in [AGENT, ROOT] {
        let (level, said) = finding(&world, user, "key.permission");
        assert_eq!(level, "problem", "{user:?}: {said}");
        assert!(said.contains(&format!("`chown www-data {}` as root", key.display())), "{user:?}: {said}");
    }
    // Root's, for the agent's group to read: nobody needs to give it away.
    chown(&key, Some(0), Some(AGENT.1)).expect("given");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("mode set");
    assert_eq!(finding(&world, AGENT, "key.permission").0, "ok");
}

#[test]
fn doctor_names_a_store_that_root_wrote_with_the_command_that_mends_it() {
    let Some(world) = World::new() else { return };
    world.folder("run", ROOT, 0o755);
    assert_eq!(world.start(ROOT, "022").stop().0, Some(0));
    let data = world.path("state/data");
    let (level, said) = finding(&world, AGENT, "store.owner");
    assert_eq!(level, "problem", "{said}");
    assert!(said.contains("belongs to user root, and the agent is user www-data's"), "{said}");
    assert!(said.contains(&format!("chown -R www-data {}", data.display())), "{said}");
    let (level, said) = finding(&world, AGENT, "disk.write");
    assert_eq!(level, "problem", "{said}");
}
