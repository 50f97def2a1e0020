//! A terminal, and all that a program draws on it.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::wait::until;

pub(crate) struct Terminal {
    user: File,
    drawn: Arc<Mutex<String>>,
}

impl Terminal {
    /// One of so many columns.
    pub(crate) fn new(columns: u16) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let control = openpt(flags).expect("a terminal");
        grantpt(&control).and_then(|()| unlockpt(&control)).expect("may be used");
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(control.as_fd(), size).expect("is so wide");
        let name = ptsname(&control, Vec::new()).expect("has a name");
        let name = std::ffi::OsStr::from_bytes(name.as_bytes());
        let user = OpenOptions::new().read(true).write(true).open(name).expect("opens");
        let drawn = Arc::new(Mutex::new(String::new()));
        let (mut control, kept) = (File::from(control), drawn.clone());
        // Ends with the process: as long as a test lives, its terminal is there.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = control.read(&mut bytes) {
                let text = std::str::from_utf8(&bytes[..count]).expect("whole characters");
                kept.lock().expect("no panic while locked").push_str(text);
            }
        });
        Self { user, drawn }
    }

    /// For a program to write to.
    pub(crate) fn stdio(&self) -> Stdio {
        self.user.try_clone().expect("a second descriptor").into()
    }

    /// All that was drawn so far.
    pub(crate) fn drawn(&self) -> String {
        self.drawn.lock().expect("no panic while locked").clone()
    }

    /// Returns what was drawn once `text` was.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        until(text, || self.drawn(), |drawn| drawn.contains(text))
    }
}
