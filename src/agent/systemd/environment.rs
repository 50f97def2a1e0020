//! The variables and descriptors by which systemd hands things over: sd_notify(3),
//! sd_watchdog_enabled(3), sd_listen_fds(3).

use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The first descriptor that is passed.
const FIRST_FD: RawFd = 3;

/// Most descriptors that are taken over; we know of two.
const FDS_MAX: usize = 64;

/// What was handed over.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Where to send notifications.
    pub(super) notify: Option<OsString>,
    /// How long the watchdog waits for a sign of life.
    pub(super) watchdog: Option<Duration>,
    /// Descriptors by their names, closed on exec from now on.
    pub(super) sockets: Vec<(String, OwnedFd)>,
}

/// Takes it over and unsets the variables. Before any thread is started; the second time it is empty.
pub(super) fn take() -> Handed {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Handed::default();
    }
    let said = Said::read(|name| std::env::var_os(name), std::process::id());
    let sockets = (FIRST_FD..).zip(said.names).filter_map(|(fd, name)| Some((name, own(fd)?))).collect();
    for name in VARIABLES {
        unset(name);
    }
    Handed { notify: said.notify, watchdog: said.watchdog, sockets }
}

#[expect(unsafe_code, reason = "descriptors that are passed by their number have no owner yet")]
fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: touches nothing but the flags of the number, whether or not it is open.
    if unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: it is open, and passed to this very process, which `take` looks at once: no other owner.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "the environment may only be changed while there is one thread")]
fn unset(name: &str) {
    // SAFETY: `run` calls `take` first of all, before it starts the runtime or any other thread.
    unsafe { std::env::remove_var(name) }
}

/// What the variables say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    notify: Option<OsString>,
    watchdog: Option<Duration>,
    /// The names of the passed descriptors, in order.
    names: Vec<String>,
}

impl Said {
    /// Variables for another process, which a parent forgot to unset, are not for us.
    fn read(var: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let number = |name: &str| text(name).and_then(|value| value.parse::<u64>().ok());
        let is_ours = |name: &str| number(name) == Some(u64::from(pid));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 0).map(Duration::from_micros);
        let count = number("LISTEN_FDS").filter(|_| is_ours("LISTEN_PID")).unwrap_or(0);
        let names = text("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).chain(std::iter::repeat(String::new()));
        Self {
            notify: var("NOTIFY_SOCKET").filter(|address| !address.is_empty()),
            watchdog: watchdog.filter(|_| var("WATCHDOG_PID").is_none() || is_ours("WATCHDOG_PID")),
            names: names.take(usize::try_from(count).unwrap_or(usize::MAX).min(FDS_MAX)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_another_process_is_not_taken() {
        let read = |vars: &[(&str, &str)]| {
            let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into());
            Said::read(var, 7)
        };
        assert_eq!(read(&[]), Said::default());
        let ours = [
            ("NOTIFY_SOCKET", "@n"),
            ("WATCHDOG_USEC", "60000000"),
            ("WATCHDOG_PID", "7"),
            ("LISTEN_PID", "7"),
            ("LISTEN_FDS", "3"),
            ("LISTEN_FDNAMES", "agent:relay"),
        ];
        let names: Vec<String> = ["agent", "relay", ""].map(str::to_owned).into();
        let watchdog = Some(Duration::from_secs(60));
        assert_eq!(read(&ours), Said { notify: Some("@n".into()), watchdog, names });
        let others =
            [("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "8"), ("LISTEN_PID", "8"), ("LISTEN_FDS", "1")];
        assert_eq!(read(&others), Said::default());
        assert_eq!(read(&[("LISTEN_PID", "7"), ("LISTEN_FDS", "999999")]).names.len(), FDS_MAX);
    }
}
