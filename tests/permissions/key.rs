//! Keys: an agent of one user takes them from that user alone.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use crate::support::{KEY, assert_no_secret, completion, names};
use crate::world::{AGENT, MEMBER, World, mode, text};

#[test]
fn another_users_key_is_not_asked_for_and_refused_and_nobody_else_connects() {
    let Some(world) = World::new() else { return };
    let socket = world.path("home/mine/agent.sock");
    let mut command = world.command(AGENT, "000", "exec \"$0\" run --per-user");
    command.env("REVENIUM_AGENT_SOCKET", &socket);
    let agent = world.launch(command, "log");
    agent.wait_for(": started");
    assert_eq!([&socket, socket.parent().expect("has one")].map(|path| mode(path).0), [0o600, 0o700]);

    // The kernel lets root in, and tells the agent that it is root.
    let mut stream = BufReader::new(UnixStream::connect(&socket).expect("root may"));
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let namespace = Uuid::from_u128(0x26002cad_875a_596a_b3f0_73d9462fdd55);
    let profile = format!("key-{}", &Uuid::new_v5(&namespace, KEY.as_bytes()).simple().to_string()[..16]);
    let hello = format!(r#"{{"hello":{{"v":1,"profile":"{profile}","key_at_hand":true}}}}"#);
    let key = format!(r#"{{"key":{{"value":"{KEY}"}}}}"#);
    let lines = format!("{hello}\n{}\n{key}\n", completion("m"));
    stream.get_mut().write_all(lines.as_bytes()).expect("taken");
    let mut answer = || {
        let mut line = String::new();
        stream.read_line(&mut line).expect("answered");
        serde_json::from_str::<Value>(&line).expect("is JSON")
    };
    assert_eq!(answer()["ok"], true, "the event is taken, and the key not asked for");
    let refused = answer();
    assert_eq!((&refused["code"], &refused["field"]), (&"denied".into(), &"key".into()), "{refused}");
    assert_eq!(names(&world.path("home/.local/state/revenium-agent/keys")), Vec::<String>::new());

    let other = world.sh(MEMBER, &format!("exec \"$0\" send --socket {} --model m", socket.display()));
    assert_eq!(other.status.code(), Some(3), "{}", text(&other.stderr));
    let (code, log) = agent.stop();
    assert_eq!(code, Some(0), "{log}");
    assert_no_secret(&[&log]);
}
