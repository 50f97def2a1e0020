//! Which agent a command's events are for, and how they reach it.
//!
//! The first that answers: the user's own, then the machine's, as for every sender; each is known by its
//! configuration. What cannot be found out is told, and the rest is used.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use revenium_emitter::place;

use super::{ExecArgs, warn};
use crate::client::{Client, ClientError};
use crate::config::{MACHINE_FILE, Surroundings, Ways};
use crate::exit::{Exit, Failure, OrExit};

/// How long a busy agent may take to accept.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The socket unit that may hold the machine's relay.
const RELAY_UNIT: &str = "revenium-agent-relay.socket";

/// How an agent is reached.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) socket: PathBuf,
    /// Where senders leave events while it does not run, unless they know better.
    pub(super) spool: Option<PathBuf>,
    /// The relay's.
    pub(super) base_url: Option<String>,
}

impl Agent {
    /// The agent that `args` name, else the one that is there. Only a `--config` that cannot be used fails.
    pub(super) fn find(args: &ExecArgs, around: &Surroundings) -> Result<Self, Failure> {
        let known = match &args.config {
            Some(file) => {
                vec![Ways::of(file, around).or_exit(Exit::Config, "the configuration cannot be used")?]
            }
            None => known(around),
        };
        // A variable of no use must not keep a command from starting: it counts as not set, as for emitters.
        let variable = || std::env::var_os(place::SOCKET_VARIABLE).map(PathBuf::from);
        let named =
            args.socket.as_deref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.into()));
        let ways = match named.or_else(|| variable().filter(|path| path.is_absolute())) {
            Some(socket) => of_socket(&socket, known),
            None => answering(known),
        };
        if let Some(words) = silence(&ways.socket) {
            warn(&words);
        }
        let relay = args.relay.or(ways.relay).or_else(|| held_by_systemd(&ways.socket));
        let base_url = relay.filter(|relay| relay.port() != 0).map(|relay| {
            let token = ways.relay_token.as_ref();
            let path = token.map_or_else(String::new, |token| format!("/token/{}", token.reveal()));
            format!("http://{}{path}", reachable(relay))
        });
        Ok(Self { socket: ways.socket, spool: ways.spool, base_url })
    }
}

/// The user's agent and the machine's, in this order. Root's own is the machine's, unless it has a
/// configuration of its own.
fn known(around: &Surroundings) -> Vec<Ways> {
    let own = around.own_config().filter(|file| around.uid != 0 || file.is_file());
    let own = own.map(|file| (file, around.of_own_service()));
    let all = own.into_iter().chain([(MACHINE_FILE.into(), Surroundings::of_service())]);
    all.filter_map(|(file, around)| of_file(&file, &around)).collect()
}

/// What the configuration says; of one that cannot be used, what holds without one.
fn of_file(file: &Path, around: &Surroundings) -> Option<Ways> {
    Ways::of(file, around)
        .or_else(|error| {
            warn(&error.to_string());
            Ways::of(Path::new(""), around)
        })
        .ok()
}

fn of_socket(socket: &Path, known: Vec<Ways>) -> Ways {
    let ways = known.into_iter().find(|ways| ways.socket == socket);
    ways.unwrap_or_else(|| Ways {
        socket: socket.to_owned(),
        spool: Some(place::spool(socket)),
        relay: None,
        relay_token: None,
    })
}

/// The first that answers, else the one to be expected, as the emitter expects it: where a socket was left
/// behind, or for which the machine has a spool.
fn answering(known: Vec<Ways>) -> Ways {
    let first = |is: &dyn Fn(&Ways) -> bool| known.iter().position(is);
    let installed = |ways: &Ways| {
        ways.spool.as_deref().is_some_and(|dir| dir == Path::new(place::SYSTEM_SPOOL) && dir.is_dir())
    };
    let at = first(&|ways| silence(&ways.socket).is_none())
        .or_else(|| first(&|ways| ways.socket.symlink_metadata().is_ok()))
        .or_else(|| first(&installed));
    let ways = known.into_iter().nth(at.unwrap_or(0));
    ways.unwrap_or_else(|| of_socket(Path::new(place::SYSTEM_SOCKET), Vec::new()))
}

/// Why nobody answers at this socket; `None` if an agent does.
fn silence(socket: &Path) -> Option<String> {
    match Client::connect(&[socket.to_owned()], ANSWER_MAX) {
        Ok(_) => None,
        Err(ClientError::NotReachable { .. }) => Some(format!(
            "no agent answers at {}: start it with `revenium-agent run`, or set it up with `revenium-agent setup`",
            socket.display()
        )),
        Err(error) => Some(error.to_string()),
    }
}

/// An address to connect to, for one to listen on.
fn reachable(mut relay: SocketAddr) -> SocketAddr {
    match relay.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => relay.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => relay.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    relay
}

/// The relay's address if systemd listens there for the machine's agent.
fn held_by_systemd(socket: &Path) -> Option<SocketAddr> {
    if socket != Path::new(place::SYSTEM_SOCKET) || !Path::new("/run/systemd/system").is_dir() {
        return None;
    }
    let mut show = Command::new("systemctl");
    show.args(["show", RELAY_UNIT, "--property=ActiveState,Listen"]);
    let shown = show.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    listening(&String::from_utf8_lossy(&shown.stdout))
}

/// The address in what `systemctl show` prints of a socket that is active.
fn listening(shown: &str) -> Option<SocketAddr> {
    shown.lines().find(|line| *line == "ActiveState=active")?;
    let listen = shown.lines().find_map(|line| line.strip_prefix("Listen="))?;
    listen.strip_suffix(" (Stream)")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_systemd_holds_is_known_while_it_listens() {
        let shown = |state: &str| format!("Listen=127.0.0.1:8793 (Stream)\nActiveState={state}\n");
        assert_eq!(listening(&shown("active")), "127.0.0.1:8793".parse().ok());
        assert_eq!(listening(&shown("inactive")), None);
        assert_eq!(listening("ActiveState=active\nListen=/run/x (Stream)\n"), None);
    }

    #[test]
    fn a_client_connects_to_this_machine_where_a_listener_has_no_address() {
        for (listen, to) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("127.0.0.2:1", "127.0.0.2:1")]
        {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), to);
        }
    }
}
