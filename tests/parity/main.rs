//! One answer of the provider gives one and the same event, whichever way it is metered.
//!
//! Real clients (Anthropic's SDKs for Python and Node, curl, a client built on reqwest) get the same answers from a
//! stand-in: metered by the Python package, by the gateway, by the layer for Rust, and by two of them at once. What is
//! billed in the end is compared, member by member. The matrix is printed (`--no-capture` shows it).

#[path = "../gateway/provider.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod provider;
#[path = "../support/mod.rs"]
mod support;

mod answers;
mod clients;
mod matrix;
mod rust;
