//! The sections of the configuration: what each key means, its default and its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::{Source, Surroundings, unit, url};
use crate::secret::Secret;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Longest path of a Unix socket, in bytes: what `sockaddr_un` holds, less the final NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The control socket's name in the data directory.
pub(super) const CONTROL_SOCKET: &str = "control.sock";

/// `data_dir`: `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/revenium-agent`, else the same under
/// `~/.local/state`.
pub(super) fn data_dir(reader: &mut Reader, around: &Surroundings) -> PathBuf {
    let state = || Some((around.dir("STATE_DIRECTORY")?, "STATE_DIRECTORY"));
    let user = || Some((around.dir("XDG_STATE_HOME")?.join("revenium-agent"), "XDG_STATE_HOME"));
    let home = || Some((around.dir("HOME")?.join(".local/state/revenium-agent"), "HOME"));
    let default = state().or_else(user).or_else(home);
    let default = default.map(|(dir, variable)| (dir, Source::DefaultFrom(variable)));
    let dir = reader.path_or("data_dir", default);
    check_socket_path(reader, "data_dir", &dir.join(CONTROL_SOCKET));
    dir
}

fn check_socket_path(reader: &mut Reader, key: &str, path: &std::path::Path) {
    let bytes = path.as_os_str().len();
    if bytes > SOCKET_PATH_BYTES_MAX {
        let path = path.display();
        reader.refuse(
            key,
            format!("{path} has {bytes} bytes; a socket's path has at most {SOCKET_PATH_BYTES_MAX}"),
        );
    }
}

/// `[socket]`: the Unix socket that takes events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketConfig {
    /// Where it is. By default `$RUNTIME_DIRECTORY/agent.sock` (systemd), for root
    /// `/run/revenium/agent.sock`, for others `$XDG_RUNTIME_DIR/revenium/agent.sock`, else
    /// `/tmp/revenium-<uid>/agent.sock`.
    pub path: PathBuf,
    /// Its file mode. 0660.
    pub mode: u32,
    /// Users who may send, beside root and the agent's own. With both lists empty, the file mode alone decides.
    pub allow_uids: Vec<u32>,
    /// Groups whose members may send, be it their first group or a further one.
    pub allow_gids: Vec<u32>,
    /// Most connections at a time. 900: with the log's and the upstream's files, below the usual
    /// limit of 1,024 where it cannot be raised.
    pub connections_max: u32,
    /// Most connections of one user at a time. 800: most machines run all apps under one user.
    pub connections_per_uid_max: u32,
    /// Most lines that one user may send in a second; beyond it they are read more slowly. 500,000,
    /// twice what two cores take in; 0 is off.
    pub lines_per_second_per_uid_max: u32,
    /// A connection whose line stays unfinished for so long is closed. 30s. An idle one may stay.
    pub line_timeout: Duration,
}

impl SocketConfig {
    pub(super) fn read(reader: &mut Reader, around: &Surroundings) -> Self {
        let path = reader.path_or("socket.path", Some(default_socket(around)));
        check_socket_path(reader, "socket.path", &path);
        Self {
            path,
            mode: reader.mode("socket.mode", 0o660),
            allow_uids: reader.ids("socket.allow_uids"),
            allow_gids: reader.ids("socket.allow_gids"),
            connections_max: reader.number("socket.connections_max", 900, 1..=65_536),
            connections_per_uid_max: reader.number("socket.connections_per_uid_max", 800, 1..=65_536),
            lines_per_second_per_uid_max: reader.number(
                "socket.lines_per_second_per_uid_max",
                500_000,
                0..=u32::MAX,
            ),
            line_timeout: reader.duration("socket.line_timeout", seconds(30), seconds(1)..=hours(1)),
        }
    }
}

fn default_socket(around: &Surroundings) -> (PathBuf, Source) {
    if let Some(dir) = around.dir("RUNTIME_DIRECTORY") {
        return (dir.join("agent.sock"), Source::DefaultFrom("RUNTIME_DIRECTORY"));
    }
    if around.uid == 0 {
        return (PathBuf::from("/run/revenium/agent.sock"), Source::Default);
    }
    match around.dir("XDG_RUNTIME_DIR") {
        Some(dir) => (dir.join("revenium/agent.sock"), Source::DefaultFrom("XDG_RUNTIME_DIR")),
        None => (PathBuf::from(format!("/tmp/revenium-{}/agent.sock", around.uid)), Source::Default),
    }
}

/// `[admin]`: metrics, health and the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens. 127.0.0.1:8792; `None` ("") is off. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
}

impl AdminConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8792));
        Self { listen: reader.listen("admin.listen", Some(default)) }
    }
}

/// `[store]`: the log and its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Most that the log may hold, dead letters and quarantine included. 10GiB.
    pub capacity_bytes: u64,
    /// Most that one profile may hold. As `capacity_bytes` unless given.
    pub profile_capacity_bytes: u64,
    /// Free space that is left to others on the file system. 512MiB.
    pub free_reserve_bytes: u64,
    /// Size of one file of the log. 64MiB.
    pub segment_bytes: u64,
}

impl StoreConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        // What is appended together fits an eighth of a segment: the largest event, and a batch. The
        // store needs a few segments to recycle.
        let segment_bytes = reader.bytes("store.segment_bytes", 64 * MIB, 16 * MIB..=GIB);
        let capacity_bytes = reader.bytes("store.capacity_bytes", 10 * GIB, 64 * MIB..=64 * TIB);
        if capacity_bytes < segment_bytes.saturating_mul(4) {
            let (capacity, segment) = (unit::show_bytes(capacity_bytes), unit::show_bytes(segment_bytes));
            reader.refuse(
                "store.capacity_bytes",
                format!("{capacity} is less than four segments of {segment} (store.segment_bytes)"),
            );
        }
        let profile_capacity_bytes =
            reader.bytes("store.profile_capacity_bytes", capacity_bytes, MIB..=64 * TIB);
        if profile_capacity_bytes > capacity_bytes {
            reader.refuse("store.profile_capacity_bytes", "is more than store.capacity_bytes");
        }
        let free_reserve_bytes = reader.bytes("store.free_reserve_bytes", 512 * MIB, 64 * KIB..=TIB);
        Self { capacity_bytes, profile_capacity_bytes, free_reserve_bytes, segment_bytes }
    }
}

/// `[drain]`: delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainConfig {
    /// Most requests a second to one account. 0: find the pace.
    pub requests_per_second_max: u32,
    /// Most requests in flight to one account. 0: as the pace needs.
    pub in_flight_max: u32,
    /// Longest wait between two attempts of a record. 60s.
    pub backoff_max: Duration,
    /// The HTTP proxy, which may hold a password. `None`: what `HTTPS_PROXY` and `NO_PROXY` say.
    pub proxy: Option<Secret>,
    /// Certificates to trust beside the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// How long requests in flight may take to settle when the agent stops. 10s.
    pub stop_deadline: Duration,
}

impl DrainConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let ca_file = reader.path("drain.ca_file");
        if let Some(path) = &ca_file {
            match std::fs::read_to_string(path) {
                Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {}
                Ok(_) => {
                    reader.refuse("drain.ca_file", format!("{} holds no PEM certificate", path.display()))
                }
                Err(error) => {
                    reader.refuse("drain.ca_file", format!("cannot read {}: {error}", path.display()))
                }
            }
        }
        Self {
            requests_per_second_max: reader.number("drain.requests_per_second_max", 0, 0..=100_000),
            in_flight_max: reader.number("drain.in_flight_max", 0, 0..=10_000),
            backoff_max: reader.duration("drain.backoff_max", seconds(60), seconds(1)..=hours(1)),
            proxy: url::read_proxy(reader, "drain.proxy"),
            ca_file,
            stop_deadline: reader.duration("drain.stop_deadline", seconds(10), Duration::ZERO..=hours(1)),
        }
    }
}

/// `[logging]`: what is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggingConfig {
    /// The least important line that is written. info.
    pub level: LogLevel,
    /// How lines are written. text.
    pub format: LogFormat,
}

/// How important a line must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Data is lost, or a person must act.
    Error,
    /// Recovered, worth knowing.
    Warn,
    /// The life of the process.
    Info,
    /// A chunk, a request.
    Debug,
    /// An event.
    Trace,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// Lines without a time, each with its priority for the journal: `<4>…`.
    Journald,
}

impl LoggingConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let levels = [
            ("trace", LogLevel::Trace),
            ("debug", LogLevel::Debug),
            ("info", LogLevel::Info),
            ("warn", LogLevel::Warn),
            ("error", LogLevel::Error),
            // The names that Revenium's Python packages use.
            ("warning", LogLevel::Warn),
            ("critical", LogLevel::Error),
        ];
        let formats =
            [("text", LogFormat::Text), ("json", LogFormat::Json), ("journald", LogFormat::Journald)];
        Self {
            level: reader.choice("logging.level", LogLevel::Info, &levels),
            format: reader.choice("logging.format", LogFormat::Text, &formats),
        }
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}
