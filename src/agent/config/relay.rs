//! `[relay]`: Revenium's own API on this machine, for its SDKs.

use std::net::SocketAddr;
use std::path::Path;

use super::reader::Reader;
use crate::keys;
use crate::secret::Secret;

/// Shortest token that is taken, in bytes: 128 random bits in hex have twice as many.
const TOKEN_BYTES_MIN: usize = 16;

/// Most names in a listener's `hosts`, and the longest of them (RFC 1035).
const HOSTS_MAX: usize = 64;
const HOST_BYTES_MAX: usize = 253;

/// Where the relay listens, and whom it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// Where it listens. `None` (""): off. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Whether a request without an API key, or with one that no profile has, is refused. False: without
    /// one it is for `default`; events with an unknown one wait, under a profile of their own.
    pub strict: bool,
    /// What clients must show, if anything; from `relay.token_file`.
    pub token: Option<Secret>,
    /// Names by which clients may address it, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Most connections at a time. 1,024.
    pub connections_max: u32,
}

impl RelayConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.listen("relay.listen", None);
        let token_file = reader.path("relay.token_file");
        let token = token_file.and_then(|path| match read_token(&path) {
            Ok(token) => Some(token),
            Err(message) => {
                reader.refuse("relay.token_file", message);
                None
            }
        });
        if let Some(address) = listen
            && !address.ip().is_loopback()
            && !reader.has("relay.token_file")
        {
            reader.refuse(
                "relay.listen",
                format!("{address} can be reached from other machines: set relay.token_file, or listen on 127.0.0.1"),
            );
        }
        Self {
            listen,
            strict: reader.flag("relay.strict", false),
            token,
            hosts: read_hosts(reader, "relay.hosts"),
            connections_max: reader.number("relay.connections_max", 1024, 1..=65_536),
        }
    }
}

fn read_token(path: &Path) -> Result<Secret, String> {
    let text = keys::read_guarded(path).map_err(|error| crate::chain(&error))?;
    let token = text.trim();
    let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if token.len() < TOKEN_BYTES_MIN || token.len() > keys::KEY_BYTES_MAX || !is_plain {
        return Err(format!(
            "{} must hold {TOKEN_BYTES_MIN} to {} letters, digits, \"-\" and \"_\": openssl rand -hex 16",
            path.display(),
            keys::KEY_BYTES_MAX
        ));
    }
    Ok(Secret::new(token))
}

/// Names by which clients may address a listener.
pub(super) fn read_hosts(reader: &mut Reader, key: &str) -> Vec<String> {
    reader.words(key, HOSTS_MAX, host)
}

/// A host's name as it is compared: lower case, without a port.
fn host(text: &str) -> Result<String, String> {
    let is_name = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    if text.is_empty() || text.len() > HOST_BYTES_MAX || !is_name(text) {
        return Err(format!("{text:?} is not a host's name, without a port"));
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase())
}
