//! `[gateway]`: Anthropic's API on this machine, metered on the way to the provider.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use revenium_event::profile_is_valid;

use super::layers::RawConfig;
use super::reader::Reader;
use super::relay::read_hosts;
use super::url::Target;
use super::{
    ConfigError, DrainConfig, Flags, LoggingConfig, SocketConfig, Source, Surroundings, section, unit,
};

/// Where requests go unless another provider is named.
const PROVIDER_URL: &str = "https://api.anthropic.com";

const MIB: u64 = 1 << 20;

/// Where the gateway listens, and what it passes requests on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Where it listens, on loopback. `None` (""): off. Port 0 takes a free one.
    pub listen: Option<SocketAddr>,
    /// Where a gateway in a process of its own shows metrics and health. `None` (""): nowhere. Port 0 takes a free one.
    pub admin_listen: Option<SocketAddr>,
    /// The provider's base URL: Anthropic's, a region's, or a vendor's that speaks as Anthropic does.
    pub provider_url: String,
    /// The profile that is billed. `default` unless given.
    pub profile: Option<String>,
    /// Whether a call that names no credential is metered with the fingerprint of its key.
    pub credential_from_key: bool,
    /// Names by which clients may address it, beside `localhost` and addresses.
    pub hosts: Vec<String>,
    /// Most connections at a time. 1,024.
    pub connections_max: u32,
    /// How long the rest of an answer is read on that its client gave up, to know what it cost. 0s: not at all.
    pub read_on_max: Duration,
    /// Most bytes of such a rest. 1MiB.
    pub read_on_bytes_max: u64,
    /// How long answers that are being given may take when it stops. 10m, the longest that SDKs wait.
    pub stop_deadline: Duration,
}

impl GatewayConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.listen("gateway.listen", None);
        if let Some(address) = listen.filter(|address| !address.ip().is_loopback()) {
            reader.refuse(
                "gateway.listen",
                format!("{address} can be reached from other machines; listen on 127.0.0.1, and run a gateway on each"),
            );
        }
        let key = "gateway.provider_url";
        let what = "a URL in quotes such as \"https://api.anthropic.com\"";
        let provider_url = reader.text_or(key, what, (PROVIDER_URL.to_owned(), Source::Default));
        match Target::parse(&provider_url) {
            Err(message) => {
                let message = message.replace("https://api.revenium.ai", PROVIDER_URL);
                reader.refuse(
                    key,
                    message.replace(
                        "the API key belongs into api_key or api_key_file",
                        "clients send their own key",
                    ),
                );
            }
            Ok(_) if provider_url.contains(['?', '#']) => {
                reader.refuse(
                    key,
                    format!("{} has a query: leave it to the clients", unit::quote(&provider_url)),
                );
            }
            Ok(_) => {}
        }
        let profile = reader.text("gateway.profile", "a profile's name in quotes");
        if let Some(name) = profile.as_ref().filter(|name| !profile_is_valid(name)) {
            reader.refuse("gateway.profile", format!("{} is not a profile's name", unit::quote(name)));
        }
        Self {
            listen,
            admin_listen: reader.listen("gateway.admin_listen", None),
            provider_url,
            profile,
            credential_from_key: reader.flag("gateway.credential_from_key", false),
            hosts: read_hosts(reader, "gateway.hosts"),
            connections_max: reader.number("gateway.connections_max", 1024, 1..=65_536),
            read_on_max: reader.duration(
                "gateway.read_on_max",
                Duration::ZERO,
                Duration::ZERO..=Duration::from_secs(600),
            ),
            read_on_bytes_max: reader.bytes("gateway.read_on_bytes_max", MIB, 0..=1024 * MIB),
            stop_deadline: reader.duration(
                "gateway.stop_deadline",
                Duration::from_secs(600),
                Duration::ZERO..=Duration::from_secs(3600),
            ),
        }
    }
}

/// What a gateway in a process of its own is told: its part of the configuration. It may run as a user who
/// cannot read the agent's keys, so nothing else is checked.
#[derive(Debug, Clone)]
pub struct GatewayRole {
    /// Its own section.
    pub gateway: GatewayConfig,
    /// The agent's socket, if one is written. Else it is looked for where every sender does.
    pub socket: Option<PathBuf>,
    /// What it remembers is in a folder of its own here.
    pub data_dir: PathBuf,
    /// The proxy and the certificates; the rest of it is the drain's.
    pub drain: DrainConfig,
    /// What is logged, and how.
    pub logging: LoggingConfig,
    /// What a person should know, though it works.
    pub warnings: Vec<String>,
}

impl GatewayRole {
    /// Reads and checks what concerns the gateway.
    pub fn load(flags: &Flags, around: &Surroundings) -> Result<Self, ConfigError> {
        let mut raw = RawConfig::gather(flags, around);
        let mut reader = Reader::new(&mut raw);
        let gateway = GatewayConfig::read(&mut reader);
        let data_dir = section::data_dir(&mut reader, around);
        let has_socket = reader.has("socket.path");
        let socket = SocketConfig::read(&mut reader, around);
        let drain = DrainConfig::read(&mut reader);
        let logging = LoggingConfig::read(&mut reader);
        reader.problems_so_far()?;
        let socket = has_socket.then_some(socket.path);
        Ok(Self { gateway, data_dir, socket, drain, logging, warnings: raw.warnings })
    }
}
