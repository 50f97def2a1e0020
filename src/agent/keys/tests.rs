//! Tests of `keys`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::Mode;

use super::*;

const FIRST: &str = "rev_mk_first_0123456789";
const SECOND: &str = "rev_mk_second_0123456789";

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode set");
}

fn watched(path: &Path) -> (watch::Receiver<Option<Secret>>, KeyWatch) {
    let handle = KeyHandle::open("default", Some(&KeySource::File(path.to_owned()))).expect("readable");
    (handle.current, handle.watch.expect("a file can change"))
}

fn shown(current: &watch::Receiver<Option<Secret>>) -> String {
    current.borrow().as_ref().expect("has a key").reveal().to_owned()
}

#[test]
fn a_key_has_the_shape_of_reveniums() {
    assert_eq!(check(" hak_abc\n").expect("a key").reveal(), "hak_abc");
    assert_eq!(check("rev_mk_abc").expect("a key").reveal(), "rev_mk_abc");
    let long = format!("rev_{}", "x".repeat(KEY_BYTES_MAX));
    for (text, message) in [
        ("", "the key is empty"),
        (" \n", "the key is empty"),
        ("sk-ant-abc", "the key does not begin with \"hak_\" or \"rev_\", as Revenium's keys do"),
        ("hak_a b", "the key holds characters that are not visible ASCII, such as a space or a line end"),
        ("hak_ä", "the key holds characters that are not visible ASCII, such as a space or a line end"),
        (&long, "the key is longer than 512 bytes"),
    ] {
        assert_eq!(check(text).expect_err("no key").to_string(), message);
    }
}

#[test]
fn a_key_file_that_others_can_read_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    for mode in [0o644, 0o640, 0o604, 0o620, 0o660] {
        write(&path, FIRST, mode);
        let error = KeySource::File(path.clone()).read().expect_err("is exposed").to_string();
        let path = path.display();
        assert_eq!(error, format!("{path} is open to other users (mode {mode:04o}); run: chmod 600 {path}"));
    }
    for mode in [0o600, 0o400] {
        write(&path, FIRST, mode);
        assert_eq!(KeySource::File(path.clone()).read().expect("is guarded").reveal(), FIRST);
    }
    // systemd guards the folder of its credentials; their files may have any mode.
    write(&path, FIRST, 0o444);
    assert_eq!(KeySource::Credential(path).read().expect("is a credential").reveal(), FIRST);
}

#[test]
fn a_file_that_holds_no_key_is_named_with_one_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    write(&path, "", 0o600);
    let error = KeySource::File(path.clone()).read().expect_err("is empty");
    let text = format!("cannot use the key file {}: the key is empty", path.display());
    assert_eq!(crate::chain(&error), text);
}

#[test]
fn a_pipe_in_place_of_a_key_file_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    let made = rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, Mode::from(0o600), 0);
    made.expect("a pipe");
    let error = KeySource::File(path).read().expect_err("refused");
    assert!(crate::chain(&error).ends_with("is not a regular file"), "{error:?}");
}

#[test]
fn a_key_is_followed_through_rewrite_rename_and_symlink_swap() {
    let dir = tempfile::tempdir().expect("a folder");
    let at = |name: &str| dir.path().join(name);
    write(&at("a"), FIRST, 0o600);
    std::os::unix::fs::symlink("a", at("key")).expect("linked");
    let (mut current, mut watch) = watched(&at("key"));
    assert_eq!(shown(&current), FIRST);
    watch.look();
    assert!(!current.has_changed().expect("open"), "the same key is not news");

    write(&at("a"), SECOND, 0o600);
    watch.look();
    assert_eq!((current.has_changed().expect("open"), shown(&current).as_str()), (true, SECOND));
    current.mark_unchanged();

    write(&at("new"), FIRST, 0o600);
    fs::rename(at("new"), at("a")).expect("renamed");
    watch.look();
    assert_eq!((current.has_changed().expect("open"), shown(&current).as_str()), (true, FIRST));
    current.mark_unchanged();

    write(&at("b"), SECOND, 0o600);
    std::os::unix::fs::symlink("b", at("swap")).expect("linked");
    fs::rename(at("swap"), at("key")).expect("swapped");
    watch.look();
    assert_eq!((current.has_changed().expect("open"), shown(&current).as_str()), (true, SECOND));
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_last_key_and_warns_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    write(&path, FIRST, 0o600);
    let (current, mut watch) = watched(&path);
    let spoil: [fn(&Path); 4] = [
        |path| write(path, "", 0o600),
        |path| write(path, "not a key", 0o600),
        |path| write(path, SECOND, 0o644),
        |path| fs::remove_file(path).expect("removed"),
    ];
    let (warnings, ()) = crate::logging::capture(|| {
        for spoil in spoil {
            spoil(&path);
            watch.look();
            assert_eq!(shown(&current), FIRST);
        }
    });
    assert_eq!(warnings.matches("keeping the last key").count(), 1, "{warnings}");
    write(&path, SECOND, 0o600);
    watch.look();
    assert_eq!(shown(&current), SECOND);
    assert!(!watch.warned, "a good look arms the next warning");
}

#[tokio::test(start_paused = true)]
async fn a_hangup_or_a_few_seconds_bring_the_new_key() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("key");
    write(&path, FIRST, 0o600);
    let (mut current, watch) = watched(&path);
    let (hangup, hangups) = watch::channel(0);
    let (stop, stopped) = Stop::pair();
    let follow = async {
        write(&path, SECOND, 0o600);
        current.changed().await.expect("followed");
        assert_eq!(shown(&current), SECOND);
        // The first look has been; the next comes with the signal, long before its time.
        write(&path, FIRST, 0o600);
        hangup.send_modify(|count| *count += 1);
        current.changed().await.expect("followed");
        stop.send_replace(true);
    };
    let (result, ()) = tokio::join!(watch.follow(hangups, stopped), follow);
    result.expect("stops when told to");
    assert_eq!(shown(&current), FIRST);
}

#[test]
fn a_profile_may_have_no_key() {
    let handle = KeyHandle::open("default", None).expect("no key is no error");
    assert!(handle.current.borrow().is_none() && handle.watch.is_none());
}

#[tokio::test]
async fn a_translated_key_follows_its_original_and_outlives_it() {
    let (key, keys) = watch::channel(Some(Secret::new(FIRST)));
    let (to, mut translated) = watch::channel(None);
    let (stop, stopped) = Stop::pair();
    let task = tokio::spawn(translate(keys, to, |secret| Some(secret.reveal().len()), stopped));
    translated.changed().await.expect("the first");
    assert_eq!(*translated.borrow(), Some(FIRST.len()));
    key.send_replace(Some(Secret::new(SECOND)));
    translated.changed().await.expect("the second");
    assert_eq!(*translated.borrow(), Some(SECOND.len()));
    key.send_replace(None);
    translated.changed().await.expect("none");
    assert_eq!(*translated.borrow(), None);
    drop(key);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished(), "a task that ends by itself would end the process");
    stop.send_replace(true);
    task.await.expect("joined").expect("stops when told to");
}
