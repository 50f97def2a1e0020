//! The gateway: Anthropic's own API on this machine, passed on to the provider and metered on the way.
//!
//! What a client sends reaches the provider, and what that answers reaches the client, byte for byte and piece
//! by piece: no body is gathered, decompressed or changed, headers keep their names' case and their order.
//! Changed are the fields that belong to one connection (RFC 9110, 7.6.1), `Host`, and `x-revenium-*`, which
//! says whose use it is and is taken out. Keys pass through; none is kept, logged or metered.
//!
//! A call of `/v1/messages` is metered from a copy of the bytes that passed. Metering never holds an answer up
//! or breaks one: the event is handed over after the answer's last byte, by the emitter, which keeps it in a
//! spool file while no agent runs. A call that its client gives up ends at the provider, too, and what was
//! seen of it is billed as partial. A gateway that is killed loses the calls that were being answered.
//!
//! One layer meters a call. A request that carries [`METERED`](revenium_anthropic::METERED) is left to whoever says
//! so there; an answer that carries it was metered nearer to the provider. What is metered here carries it on from
//! here.
//!
//! Not here: signing (SigV4, so no Bedrock), retries, caching, limits, WebSockets. Web pages are refused.

mod answer;
mod attribution;
mod connection;
mod decode;
mod exchange;
mod fetched;
mod handler;
mod head;
mod meter;
mod provider;
mod reading;
mod seen;
mod serve;
mod settings;
mod tap;
mod turn;
mod watch;

pub use provider::{Provider, ProviderError, Way};
pub use seen::{Held, Seen};
pub use serve::Gateway;
pub use settings::{Limits, Settings};

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameTo {
    /// Its event was handed over.
    Metered,
    /// Another layer meters it.
    Left,
    /// It should have been metered, and was not.
    Lost,
    /// It is no call: it passed, and costs nothing.
    Passed,
}

/// Counts what the gateway does.
pub trait Counter: Send + Sync + 'static {
    /// A request, or a result of a batch, came to this.
    fn came_to(&self, _what: CameTo) {}
}
