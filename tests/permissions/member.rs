//! Members of the socket's group send; everybody else is told what is missing, in one line.

use crate::support::until;
use crate::world::{AGENT, As, GROUP, MEMBER, ROOT, STRANGER, World, mode, text};

#[test]
fn a_member_is_acknowledged_and_anybody_else_is_told_which_group_it_is() {
    let Some(world) = World::new() else { return };
    for dir_mode in [0o750, 0o755] {
        world.folder("run", AGENT, dir_mode);
        let agent = world.start(AGENT, "022");
        assert_eq!(mode(&world.socket()), (0o660, AGENT.0, GROUP));
        for user in [MEMBER, AGENT, ROOT] {
            let sent = world.send(user);
            assert_eq!(
                (sent.status.code(), &*text(&sent.stdout)),
                (Some(0), "durable: 1 event\n"),
                "{user:?}"
            );
        }
        let sent = world.send(STRANGER);
        assert_eq!(
            (sent.status.code(), text(&sent.stderr)),
            (
                Some(3),
                format!(
                    "error: user nobody may not open {}: it is for group users; add the user: \
                     `usermod -aG users nobody`, then log in again\n",
                    world.socket().display()
                )
            ),
            "{dir_mode:o}"
        );
        // A user without a name is told as much.
        let sent = text(&world.send(As(4242, 4242, &[])).stderr);
        assert!(sent.starts_with("error: user 4242 may not open ") && sent.contains("group users"), "{sent}");
        assert_eq!(agent.stop().0, Some(0));
    }
    // A socket for its user alone is not opened by joining a group.
    world.configure("socket.mode = \"0600\"\n");
    let agent = world.start(AGENT, "022");
    let sent = text(&world.send(MEMBER).stderr);
    assert!(sent.ends_with(": it is for user www-data alone\n"), "{sent}");
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn the_allow_lists_know_members_by_their_further_groups() {
    let Some(world) = World::new() else { return };
    world.folder("run", AGENT, 0o755);
    world.configure(&format!("socket.mode = \"0666\"\nsocket.allow_gids = [{GROUP}]\n"));
    let agent = world.start(AGENT, "022");
    assert_eq!(world.send(MEMBER).status.code(), Some(0));
    let sent = world.send(STRANGER);
    let said = text(&sent.stderr);
    assert_eq!(sent.status.code(), Some(3));
    assert!(
        said.contains("user 65534 may not send events here") && said.contains("allow_gids (100)"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn a_umask_changes_nothing_of_what_the_configuration_says() {
    let Some(world) = World::new() else { return };
    world.folder("run", AGENT, 0o755);
    let config = std::fs::read_to_string(world.path("config.toml")).expect("read");
    let config = config.replace("run/agent.sock", "run/deep/new/agent.sock");
    std::fs::write(world.path("config.toml"), config).expect("written");
    let agent = world.start(AGENT, "077");
    let socket = world.path("run/deep/new/agent.sock");
    assert_eq!(mode(&socket), (0o660, AGENT.0, GROUP));
    for made in ["run/deep", "run/deep/new"] {
        assert_eq!(mode(&world.path(made)).0, 0o755, "{made}");
    }
    assert_eq!(mode(&world.path("state/data")).0, 0o700);
    let send = format!("exec \"$0\" send --socket {} --model m --provider p", socket.display());
    let sent = world.sh(MEMBER, &format!("{send} --input-tokens 1 --output-tokens 1"));
    assert_eq!(sent.status.code(), Some(0), "{}", text(&sent.stderr));
    assert_eq!(agent.stop().0, Some(0));
    // Nor does one that is open.
    let agent = world.start(AGENT, "000");
    assert_eq!((mode(&socket).0, mode(&world.path("state/data")).0), (0o660, 0o700));
    assert_eq!(mode(&world.path("run/deep/new/spool")).0, 0o700);
    assert_eq!(agent.stop().0, Some(0));
}

#[test]
fn of_two_agents_that_start_together_one_has_the_socket_and_the_other_says_who() {
    let Some(world) = World::new() else { return };
    for round in 0..5 {
        let mut both = [0, 1].map(|i| {
            let data = format!("--data-dir state/race-{round}-{i}");
            world.begin(AGENT, "022", &data, &format!("log-{round}-{i}"))
        });
        let loser = until(
            "one gives up",
            || both.iter_mut().map(crate::world::Running::ended).position(|code| code.is_some()),
            Option::is_some,
        );
        let [one, other] = both;
        let (winner, loser) = if loser == Some(0) { (other, one) } else { (one, other) };
        winner.wait_for(": started");
        let (code, log) = loser.end();
        assert_eq!(code, Some(75), "{log}");
        assert!(log.contains("agent.sock is in use by process "), "{log}");
        assert_eq!(world.send(MEMBER).status.code(), Some(0));
        assert_eq!(winner.stop().0, Some(0));
    }
}
