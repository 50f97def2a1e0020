//! A real file system on a loop device.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const BYTES: u64 = 256 << 20;
/// For how long it is frozen at most, whatever happens to who froze it.
const FROZEN_SECONDS_MAX: u32 = 60;

/// ext4, mounted; gone with this value.
pub(crate) struct Device {
    image: PathBuf,
    at: PathBuf,
}

impl Device {
    /// `None` without root: the test is skipped, and says so.
    pub(crate) fn mount(image: &Path, at: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root may mount a file system");
            return None;
        }
        File::create_new(image).and_then(|file| file.set_len(BYTES)).expect("made");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image), &[0]);
        let device = Self { image: image.to_owned(), at: at.to_owned() };
        device.attach();
        std::fs::set_permissions(at, Permissions::from_mode(0o700)).expect("mode set");
        Some(device)
    }

    fn attach(&self) {
        // As most distributions mount the system's.
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "loop,errors=remount-ro"]).arg(&self.image).arg(&self.at), &[0]);
    }

    /// The kernel meets damage in it, and makes it read-only, whoever has a file of it open.
    pub(crate) fn fail(&self) {
        let mut findmnt = Command::new("findmnt");
        let output = findmnt.args(["-n", "-o", "SOURCE"]).arg(&self.at).output().expect("runs");
        let source = String::from_utf8(output.stdout).expect("UTF-8");
        let name = source.trim().rsplit('/').next().expect("has a part").to_owned();
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "sick").expect("triggered");
    }

    /// What a person does about that. Nobody may have a file of it open.
    pub(crate) fn mend(&mut self) {
        run(Command::new("umount").arg(&self.at), &[0]);
        // On another device: a machine or a service that another test starts may have seen this mount, and keep it.
        let copy = self.image.with_extension("copy");
        run(Command::new("cp").arg("--sparse=always").args([&self.image, &copy]), &[0]);
        self.image = copy;
        // 1: it was mended.
        run(Command::new("fsck.ext4").args(["-f", "-y"]).arg(&self.image), &[0, 1]);
        self.attach();
    }

    /// Freezes it: who writes to it waits.
    pub(crate) fn freeze(&self) -> Frozen {
        // Another process thaws it: when it is told, when whoever froze it is gone, or when it took too long.
        let script = "timeout \"$1\" cat > /dev/null; exec fsfreeze -u \"$2\"";
        let mut thaw = Command::new("sh");
        thaw.args(["-c", script, "thaw", &FROZEN_SECONDS_MAX.to_string()]).arg(&self.at);
        let thaw = thaw.stdin(Stdio::piped()).spawn().expect("starts");
        run(Command::new("fsfreeze").arg("-f").arg(&self.at), &[0]);
        Frozen(thaw)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a process with a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A file system that is frozen; it thaws with this value at the latest.
pub(crate) struct Frozen(Child);

impl Frozen {
    /// Fails if it has thawed by itself: what was seen since says nothing then.
    pub(crate) fn thaw(mut self) {
        let ended = self.0.try_wait().expect("asked");
        assert_eq!(ended, None, "it took longer than {FROZEN_SECONDS_MAX} s");
        let mut tell = self.0.stdin.take().expect("piped");
        tell.flush().expect("there");
        drop(tell);
        assert!(self.0.wait().expect("ends").success(), "it thaws");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Ends its input, which is what it waits for.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command, codes: &[i32]) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{command:?}: {said}");
}
