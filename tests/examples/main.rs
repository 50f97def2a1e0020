//! The examples, each run as it stands: with the real clients, before a real agent and a stand-in for Anthropic.
//!
//! All ask the same, and are answered the same; what is billed of it says so.

#[path = "../gateway/provider.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod provider;
#[path = "../support/mod.rs"]
mod support;

mod claude_code;
mod each;
mod stage;
