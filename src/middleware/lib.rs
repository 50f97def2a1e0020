//! Meters the calls of Anthropic's API that a client built on [`reqwest`] makes, streams included.
//!
//! [`Metering`] is a layer of [`reqwest_middleware`]. It sees a call's request and its answer pass, and hands what the
//! provider said it used to the agent, by the [`Emitter`], once the answer has ended. Whose use it is, [`Metadata`]
//! says: of one request as an extension of it, of all that a task makes by a scope.
//!
//! ```no_run
#![doc = include_str!("examples/message.rs")]
//! ```
//!
//! **What is metered**: `POST …/v1/messages`, plain, streamed and beta, the same on Foundry and Vertex, and what
//! Bedrock answers in one piece; of `GET …/v1/messages/batches/{id}/results` each result that succeeded. At any host,
//! since a proxy is not Anthropic's. Everything else only passes.
//!
//! **What passes is not changed**, and not held up: a body that is bytes stays bytes, so that a request can be tried
//! again; one that is a stream is passed on piece by piece; an answer's pieces are the application's before the next
//! one is asked for. Nothing is added to a request or taken out of it. Only a download of a batch's results, which are
//! many at once, goes no faster than the emitter gets rid of them.
//!
//! **A call is metered once**: at the end of its answer, when that is dropped (as cancelled, with what was seen), when it
//! breaks off, or with the error in its place. The application has the answer's end when the kernel has the
//! event, if an agent is there; else it goes to the spool ([`revenium_emitter`] has what is promised). What was never
//! sent, because nobody could be connected to, is no call.
//!
//! **What is tried again**: a layer added *before* one that retries sees one call, and its outcome, as the Python package
//! does; one added *after* it sees each attempt, and a `529` that is followed by a `200` is a record of an error without
//! tokens beside the call's own, as with the gateway. What is billed is the same.
//!
//! **One layer meters**: an answer with [`METERED`](revenium_anthropic::METERED) was metered by a gateway on its
//! way, and is left alone; so is a request with it, which somebody else has claimed; so are requests that pass a
//! second layer of this kind in the same client. What [`Metadata`] says is not known to a gateway: say it in
//! `x-revenium-*` fields there.
//!
//! **Compressed answers**: with reqwest's features `gzip`, `brotli`, `deflate` or `zstd` they are decompressed before they
//! come here. An application that asks for a coding by a field of its own, and decompresses by itself, gets its bytes as
//! they came; then nothing is known of the call but that it was made, and it is a record of an error without tokens;
//! of a batch's results nothing is known at all. A warning says so.
//!
//! Not here: Bedrock's streams, which are framed otherwise (a warning says so, too); prompts; blocking clients,
//! which take no layers. Version 0.1 is for reqwest 0.12 with `reqwest-middleware` 0.4.

mod body;
mod metadata;
mod metering;
mod queue;
mod watch;

pub use metadata::Metadata;
pub use metering::Metering;
pub use revenium_emitter::{Emitter, Subscriber};
