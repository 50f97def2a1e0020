//! Places that are no places: nothing panics, nothing blocks, nothing is silently lost.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::Duration;

use revenium_emitter::{Emitted, Emitter, Trouble};

use crate::agent::{Agent, Say, event, spool_files, until};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_socket_that_is_none_is_said_and_events_are_spooled() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("folder")).unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    let long = PathBuf::from(format!("/{}", "x".repeat(4096)));
    let sockets = [at("file"), at("folder"), at("missing/agent.sock"), at("loop"), long, PathBuf::new()];
    for (i, socket) in sockets.into_iter().enumerate() {
        let spool = at("spools").join(i.to_string());
        let emitter = Emitter::builder().socket(&socket).spool(&spool).build();
        assert_eq!(emitter.emit(event(0)), Emitted::Queued, "{}", socket.display());
        assert!(emitter.flush(LONG).is_complete(), "{}", socket.display());
        assert!(matches!(emitter.last_error(), Some(Trouble::NoAgent { .. })), "{:?}", emitter.last_error());
        assert_eq!(spool_files(&spool).len(), 1);
        assert_eq!(fs::read(at("file")).unwrap(), b"x");
    }
}

#[test]
fn a_spool_that_is_a_link_or_somebody_elses_is_not_written() {
    let mut agent = Agent::absent(|_| Say::Durable);
    fs::create_dir(agent.path("elsewhere")).unwrap();
    symlink(agent.path("elsewhere"), agent.path("link")).unwrap();
    let mut spools = vec![agent.path("link")];
    // Only root can give a folder away.
    let given = agent.path("given");
    fs::create_dir(&given).unwrap();
    fs::set_permissions(&given, fs::Permissions::from_mode(0o777)).unwrap();
    if std::os::unix::fs::chown(&given, Some(12345), None).is_ok() {
        spools.push(given);
    }
    let mut emitters = Vec::new();
    for (id, spool) in (0..).zip(&spools) {
        let emitter = agent.builder().spool(spool).build();
        emitter.emit(event(id));
        assert_eq!(emitter.flush(Duration::from_millis(200)).in_memory, 1, "{}", spool.display());
        assert_eq!(fs::read_dir(spool).unwrap().count(), 0);
        emitters.push(emitter);
    }
    agent.start();
    agent.wait_all(spools.len() as u64);
}

#[test]
fn an_answer_that_is_none_loses_nothing() {
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    for nonsense in
        [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &b"x".repeat(1 << 20), b"{\"ok\":true,\"id\":\"k\"}\n"]
    {
        let mut agent = Agent::absent(|_| Say::Durable);
        let listener = UnixListener::bind(agent.socket()).unwrap();
        let emitter = agent.builder().build();
        emitter.emit(event(0));
        let (mut stream, _) = listener.accept().unwrap();
        // It hangs up on us somewhere within.
        let _ = stream.write_all(nonsense);
        until("noticed", || emitter.last_error(), Option::is_some);
        drop((stream, listener));
        agent.start();
        agent.wait_all(1);
    }
}

#[test]
fn a_shared_spool_passes_its_group_on() {
    let agent = Agent::absent(|_| Say::Durable);
    fs::create_dir(agent.spool()).unwrap();
    fs::set_permissions(agent.spool(), fs::Permissions::from_mode(0o3730)).unwrap();
    let emitter = agent.builder().build();
    emitter.emit(event(0));
    assert!(emitter.flush(LONG).is_complete());
    let mode = fs::metadata(&spool_files(&agent.spool())[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}
