//! The key on its way to its file: by which ways, by which not, and unseen.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::support::{KEY, OTHER_KEY, assert_no_secret};
use crate::user::{Ended, User, mode, read};

#[test]
fn a_key_comes_from_a_file_standard_input_or_the_environment_without_the_space_around_it() {
    let from_file = User::new();
    fs::write(from_file.path("given"), format!("  {KEY}\n\n")).expect("written");
    let ended: Ended =
        from_file.agent(&["setup", "--no-test", "--key-file", "given"]).output().expect("runs").into();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(read(&from_file.config("key")), format!("{KEY}\n"));

    let from_stdin = User::new();
    let mut setup = from_stdin.agent(&["setup", "--no-test", "--key-file", "-"]);
    let mut setup = setup.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    setup.stdin.take().expect("piped").write_all(KEY.as_bytes()).expect("taken");
    assert_eq!(setup.wait().expect("ends").code(), Some(0));
    assert_eq!(read(&from_stdin.config("key")), format!("{KEY}\n"));

    let from_environment = User::new();
    assert_eq!(from_environment.setup(&format!(" {KEY} "), &["--no-test"]).code, Some(0));
    assert_eq!(read(&from_environment.config("key")), format!("{KEY}\n"));
}

#[test]
fn a_key_as_an_argument_is_refused_and_not_repeated() {
    let user = User::new();
    for args in [&["--key", KEY][..], &[&format!("--key={KEY}")], &["--api-key", KEY], &["--key"]] {
        let ended: Ended = user.agent(&["setup"]).args(args).output().expect("runs").into();
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("can be read by every user of this machine"), "{}", ended.stderr);
        assert_no_secret(&[&ended.stdout, &ended.stderr]);
    }
    assert!(!user.config("").exists());
}

#[test]
fn what_is_no_key_is_refused_before_anything_is_written() {
    let user = User::new();
    for (key, words) in [
        ("sk-0123456789", "does not begin with \"hak_\" or \"rev_\""),
        ("rev_mk_0123456789 x", "characters that are not visible ASCII"),
        ("  ", "the key is empty"),
    ] {
        let ended = user.setup(key, &["--no-test"]);
        assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
        assert_no_secret(&[&ended.stdout, &ended.stderr]);
    }
    let none: Ended = user.agent(&["setup", "--no-test"]).output().expect("runs").into();
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("there is no key: give --key-file FILE"), "{}", none.stderr);
    let missing = user.agent(&["setup", "--key-file", "missing"]).output().expect("runs");
    let missing = Ended::from(missing);
    assert_eq!(missing.code, Some(74));
    assert!(missing.stderr.contains("cannot read the key from missing"), "{}", missing.stderr);
    assert!(!user.config("").exists());
}

#[test]
fn a_key_that_is_there_stays_until_it_is_to_be_replaced() {
    let user = User::new();
    assert_eq!(user.setup(KEY, &["--no-test"]).code, Some(0));
    let ended = user.setup(OTHER_KEY, &["--no-test"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let told = ": it holds another key than hak_…tsrq, which --replace-key puts in its place";
    assert!(ended.stdout.contains(told), "{}", ended.stdout);
    assert_eq!(read(&user.config("key")), format!("{KEY}\n"));
    let ended = user.setup(OTHER_KEY, &["--no-test", "--replace-key"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(read(&user.config("key")), format!("{OTHER_KEY}\n"));
    assert_no_secret(&[&ended.stdout]);
}

/// A review's finding: it was said to be of mode 0600.
#[test]
fn a_key_that_others_may_read_is_refused_until_it_is_written_anew() {
    let user = User::new();
    assert_eq!(user.setup(KEY, &["--no-test"]).code, Some(0));
    let (key, config) = (user.config("key"), user.config("config.toml"));
    fs::set_permissions(&key, Permissions::from_mode(0o644)).expect("opened");
    fs::remove_file(&config).expect("removed");
    for given in [KEY, OTHER_KEY] {
        let ended = user.setup(given, &["--no-test"]);
        assert_eq!(ended.code, Some(78), "{}", ended.stdout);
        assert!(ended.stderr.contains("--replace-key writes it anew"), "{}", ended.stderr);
        assert!(ended.stderr.contains("(mode 0644); run: chmod 600 "), "{}", ended.stderr);
        assert!(!config.exists(), "nothing else was written");
    }
    let ended = user.setup(KEY, &["--no-test", "--replace-key"]);
    assert_eq!((ended.code, mode(&key)), (Some(0), 0o600), "{}", ended.stderr);
    assert!(ended.stdout.contains("  replaced   "), "{}", ended.stdout);
    assert_eq!(read(&key), format!("{KEY}\n"));
}

/// Types one part each time it is asked, and says what the terminal showed and whether it echoes again.
const TERMINAL: &str = r#"
import fcntl, os, pty, select, subprocess, sys, termios
parts = sys.argv[1].encode().decode("unicode_escape").encode().split(b"|")
ours, theirs = pty.openpty()
child = subprocess.Popen(
    sys.argv[2:], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
)
shown, typed = b"", 0
while True:
    if select.select([ours], [], [], 0.02)[0]:
        shown += os.read(ours, 4096)
        if shown.count(b"(it is not shown): ") > typed:
            os.write(ours, parts[typed])
            typed += 1
    elif child.poll() is not None:
        break
sys.stdout.write(shown.decode())
print("echoes", bool(termios.tcgetattr(theirs)[3] & termios.ECHO))
sys.exit(child.returncode)
"#;

/// `setup` at a terminal, where the parts of `typed` between `|` are typed.
fn at_a_terminal(user: &User, typed: &str) -> Ended {
    let agent = env!("CARGO_BIN_EXE_revenium-agent");
    let setup = ["-c", TERMINAL, typed, agent, "setup", "--no-test"];
    user.command("python3", &setup).output().expect("python3 runs").into()
}

#[test]
fn a_typed_key_is_not_shown_and_the_terminal_is_as_it_was() {
    let user = User::new();
    let ended = at_a_terminal(&user, &format!("x\\x7f{KEY}\\r"));
    assert_eq!(ended.code, Some(0), "{} {}", ended.stdout, ended.stderr);
    assert_eq!(read(&user.config("key")), format!("{KEY}\n"));
    assert!(ended.stdout.contains("Revenium API key (it is not shown): "), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("echoes True\n"), "{}", ended.stdout);
    assert_no_secret(&[&ended.stdout]);

    let cancelled = User::new();
    let ended = at_a_terminal(&cancelled, "rev_mk_0123\\x03");
    assert_eq!(ended.code, Some(130), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("echoes True\n"), "{}", ended.stdout);
    assert!(!cancelled.config("").exists());
    assert_no_secret(&[&ended.stdout]);
}

#[test]
fn a_mistyped_key_may_be_typed_again() {
    let user = User::new();
    let ended = at_a_terminal(&user, &format!("sk-1\\r|sk-2\\r|{KEY}\\r"));
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert_eq!(ended.stdout.matches("; try again").count(), 2, "{}", ended.stdout);
    let other = User::new();
    let ended = at_a_terminal(&other, "sk-1\\r|sk-2\\r|sk-3\\r");
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(!other.config("").exists());
}
