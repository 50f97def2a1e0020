//! Where the agent's socket is, and the spool that goes with it.
//!
//! Senders and the agent must agree, so both ask here. A socket has exactly one spool: whoever points
//! an application at another agent, such as a sandbox, also points it at another spool, and no event
//! ends up with the wrong one. Whose this process's events are follows from the environment in the same way.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The socket of the machine's agent.
pub const SYSTEM_SOCKET: &str = "/run/revenium/agent.sock";

/// The spool of the machine's agent.
pub const SYSTEM_SPOOL: &str = "/var/spool/revenium";

/// The variable that holds the API key, as Revenium's SDKs have it.
pub const KEY_VARIABLE: &str = "REVENIUM_METERING_API_KEY";

/// The variable that names the socket.
pub const SOCKET_VARIABLE: &str = "REVENIUM_AGENT_SOCKET";

/// The variable that names the spool.
pub const SPOOL_VARIABLE: &str = "REVENIUM_AGENT_SPOOL";

/// The profile of this process's API key, by the key's fingerprint; `None` without a key. An agent that has the key
/// bills whoever it is of; one that has not keeps the events apart. The key itself goes nowhere.
pub fn profile() -> Option<String> {
    let key = env::var_os(KEY_VARIABLE)?;
    let key = key.as_encoded_bytes().trim_ascii();
    (!key.is_empty()).then(|| revenium_event::fingerprint::of(key))
}

/// Variables to look at, and whose they are.
pub struct Surroundings<'a> {
    /// The value of a variable, if it is set.
    pub var: &'a dyn Fn(&str) -> Option<OsString>,
    /// Effective user.
    pub uid: u32,
}

impl Surroundings<'_> {
    /// Where the agent may be listening, the first choice first: `REVENIUM_AGENT_SOCKET` and nowhere
    /// else, or the user's agent, then the machine's.
    pub fn sockets(&self) -> Vec<PathBuf> {
        match self.path(SOCKET_VARIABLE) {
            Some(path) => vec![path],
            None => vec![self.user_socket(), SYSTEM_SOCKET.into()],
        }
    }

    /// The socket of the user's own agent: `$XDG_RUNTIME_DIR/revenium/agent.sock`, else in a folder of
    /// the user's in `/tmp`.
    pub fn user_socket(&self) -> PathBuf {
        match self.path("XDG_RUNTIME_DIR") {
            Some(dir) => dir.join("revenium/agent.sock"),
            None => format!("/tmp/revenium-{}/agent.sock", self.uid).into(),
        }
    }

    /// The spool of `socket`: `REVENIUM_AGENT_SPOOL`, else [`Self::spool_beside`].
    pub fn spool(&self, socket: &Path) -> PathBuf {
        self.path(SPOOL_VARIABLE).unwrap_or_else(|| self.spool_beside(socket))
    }

    /// The spool that goes with `socket`: the machine's with the machine's, the user's
    /// (`$XDG_STATE_HOME/revenium/spool`, else in `~/.local/state`) with the user's; with any other, and
    /// for a user without a home, the folder `spool` beside the socket.
    pub fn spool_beside(&self, socket: &Path) -> PathBuf {
        if socket == Path::new(SYSTEM_SOCKET) {
            return SYSTEM_SPOOL.into();
        }
        let home = || self.path("HOME").map(|home| home.join(".local/state"));
        match self.path("XDG_STATE_HOME").or_else(home) {
            Some(state) if socket == self.user_socket() => state.join("revenium/spool"),
            _ => socket.with_file_name("spool"),
        }
    }

    /// The absolute path in a variable. One that is empty counts as not set.
    fn path(&self, name: &str) -> Option<PathBuf> {
        (self.var)(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }
}

/// Where the agent may be listening, as this process's environment says.
pub fn sockets() -> Vec<PathBuf> {
    of_process(|around| around.sockets())
}

/// The spool of `socket`, as this process's environment says.
pub fn spool(socket: &Path) -> PathBuf {
    of_process(|around| around.spool(socket))
}

fn of_process<T>(ask: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let var = |name: &str| env::var_os(name);
    ask(&Surroundings { var: &var, uid: rustix::process::geteuid().as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask<T>(vars: &[(&str, &str)], of: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let var =
            |name: &str| vars.iter().find(|(of, _)| *of == name).map(|(_, value)| OsString::from(*value));
        of(&Surroundings { var: &var, uid: 1000 })
    }

    #[test]
    fn a_named_socket_is_the_only_one_else_the_users_comes_before_the_machines() {
        let named = [(SOCKET_VARIABLE, "/x/a.sock"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        assert_eq!(ask(&named, |around| around.sockets()), [PathBuf::from("/x/a.sock")]);
        assert_eq!(
            ask(&named[1..], |around| around.sockets()),
            [PathBuf::from("/run/user/1000/revenium/agent.sock"), SYSTEM_SOCKET.into()]
        );
        assert_eq!(
            ask(&[(SOCKET_VARIABLE, "")], |around| around.sockets())[0],
            Path::new("/tmp/revenium-1000/agent.sock")
        );
    }

    #[test]
    fn each_socket_has_a_spool_of_its_own() {
        let vars = [("HOME", "/home/me"), ("XDG_RUNTIME_DIR", "/run/user/1000")];
        let user = "/run/user/1000/revenium/agent.sock";
        for (vars, socket, spool) in [
            (&vars[..], SYSTEM_SOCKET, SYSTEM_SPOOL),
            (&vars[..], user, "/home/me/.local/state/revenium/spool"),
            (&[vars[0], vars[1], ("XDG_STATE_HOME", "/state")], user, "/state/revenium/spool"),
            (&vars[1..], user, "/run/user/1000/revenium/spool"),
            (&vars[..], "/tmp/try/agent.sock", "/tmp/try/spool"),
            (&[(SPOOL_VARIABLE, "/spool")], SYSTEM_SOCKET, "/spool"),
            (&[(SPOOL_VARIABLE, "relative")], SYSTEM_SOCKET, SYSTEM_SPOOL),
        ] {
            assert_eq!(ask(vars, |around| around.spool(Path::new(socket))), Path::new(spool), "{vars:?}");
        }
    }
}
