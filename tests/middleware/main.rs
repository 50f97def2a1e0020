//! The layer for clients built on reqwest, between a client and a provider that speaks byte by byte.
//!
//! Most tests have no agent: what was metered then lies in the spool, and is read there.

#[path = "../gateway/provider.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod provider;
#[path = "../support/mod.rs"]
mod support;

mod application;
mod metered;
mod transparent;
mod twice;
