//! The gateway as a process of its own, between clients and providers that speak byte by byte.
//!
//! Most tests have no agent: what was metered then lies in the spool, and is read there.

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod batches;
mod bounds;
mod cassettes;
mod client;
mod front;
mod gateway;
mod keys;
mod life;
mod metered;
mod odd;
mod provider;
mod tls;
mod transparent;
