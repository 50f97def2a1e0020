//! The socket file: whose it is, what it may replace, and that it comes back.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdListener;

use super::*;
use crate::intake::BindError;

#[tokio::test]
async fn a_second_agent_is_told_who_listens_and_the_first_goes_on() {
    let rig = Rig::start();
    let error = Listener::bind(&rig.path(), 0o600, 16).unwrap_err();
    let own = std::process::id();
    assert!(matches!(&error, BindError::InUse { pid: Some(pid), .. } if *pid == own), "{error:?}");
    assert_eq!(error.to_string(), format!("{} is in use by process {own}", rig.path().display()));
    let mut client = rig.connect().await;
    client.send(line(1)).await;
    // The probe was a connection too.
    assert_eq!(client.answer().await, Said::Ok);
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_anything_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists());
    let bound = Listener::bind(&path, 0o660, 16).unwrap();
    assert_eq!(fs::metadata(bound.path()).unwrap().permissions().mode() & 0o777, 0o660);
    let file = dir.path().join("notes.txt");
    fs::write(&file, "precious").unwrap();
    assert!(matches!(Listener::bind(&file, 0o600, 16), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read(&file).unwrap(), b"precious");
}

#[tokio::test]
async fn what_the_system_refused_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Listener::bind(&file.join("agent.sock"), 0o600, 16).unwrap_err();
    assert_eq!(crate::chain(&error), format!("cannot create {}: File exists (os error 17)", file.display()));
}

#[tokio::test]
async fn the_directory_is_made_as_open_as_the_socket_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode, dir_mode) in [("own", 0o600, 0o700), ("group", 0o660, 0o755)] {
        let path = dir.path().join(name).join("deep").join("agent.sock");
        let _bound = Listener::bind(&path, mode, 16).unwrap();
        let made = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, dir_mode, "{name}");
    }
}

#[tokio::test]
async fn a_directory_that_anybody_can_change_is_refused_unless_it_is_sticky() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    fs::DirBuilder::new().mode(0o700).create(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Listener::bind(&open.join("agent.sock"), 0o600, 16).unwrap_err();
    assert!(matches!(error, BindError::UnsafeDirectory { .. }), "{error:?}");
    assert!(error.to_string().ends_with("everybody can write to it (mode 0777)"), "{error}");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
    Listener::bind(&open.join("agent.sock"), 0o600, 16).unwrap();
}

#[tokio::test]
async fn a_directory_of_somebody_else_is_refused() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give a directory away to test with.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(4242), None).unwrap();
    let error = Listener::bind(&dir.path().join("agent.sock"), 0o600, 16).unwrap_err();
    assert!(error.to_string().contains("it belongs to user 4242"), "{error}");
}

#[tokio::test]
async fn a_path_that_the_kernel_cannot_take_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Listener::bind(&dir.path().join("s".repeat(120)), 0o600, 16).unwrap_err();
    assert!(matches!(error, BindError::PathTooLong(_)), "{error:?}");
}

#[tokio::test]
async fn agents_that_start_together_share_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.sock");
    drop(StdListener::bind(&path).unwrap());
    let runtime = tokio::runtime::Handle::current();
    let bound: Vec<_> = std::thread::scope(|scope| {
        let bind = || {
            let _inside = runtime.enter();
            Listener::bind(&path, 0o600, 16)
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(bind)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
    let winner = bound.into_iter().find_map(Result::ok).unwrap();
    assert!(winner.is_in_place());
}

#[tokio::test(start_paused = true)]
async fn a_path_that_vanished_is_bound_again_and_nobody_is_cut_off() {
    let rig = Rig::start();
    let mut before = rig.connect().await;
    rig.tally.reaches("opened", 1).await;
    // Waits at the old socket while the path goes.
    let waiting = std::os::unix::net::UnixStream::connect(rig.path()).unwrap();
    fs::remove_file(rig.path()).unwrap();
    rig.tally.reaches("rebound", 1).await;
    waiting.set_nonblocking(true).unwrap();
    let mut waiting = Client::new(UnixStream::from_std(waiting).unwrap());
    for client in [&mut before, &mut waiting, &mut rig.connect().await] {
        client.send(line(1)).await;
        assert_eq!(client.answer().await, Said::Ok);
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_another_agent_has_taken_is_left_to_it() {
    let rig = Rig::start();
    fs::remove_file(rig.path()).unwrap();
    let other = StdListener::bind(rig.path()).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(rig.tally.count("rebound"), 0);
    let path = rig.path();
    let dir = rig.dir.path().to_owned();
    let _kept = fs::File::open(dir).unwrap();
    let queue = Arc::clone(&rig.queue);
    let Rig { dir: _dir, stop, served, .. } = rig;
    stop.unwrap().send(()).unwrap();
    served.await.unwrap();
    assert!(path.exists(), "the other agent's socket was removed");
    drop((other, queue));
}
