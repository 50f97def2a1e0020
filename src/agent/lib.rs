//! The agent: ways in, the drain, and what an operator sees.

pub mod admin;
pub mod cli;
pub mod client;
pub mod commands;
pub mod config;
pub mod desk;
pub mod drain;
pub mod exit;
pub mod gateway;
pub mod guarantee;
mod host;
mod inherited;
pub mod intake;
pub mod keyring;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod progress;
pub mod queue;
pub(crate) mod receipts;
pub mod relay;
pub mod sandbox;
pub mod secret;
pub mod signals;
pub mod spool;
pub mod systemd;
pub mod tasks;
pub mod tenant;
pub(crate) mod undelivered;
pub mod upstream;
pub(crate) mod user;
pub mod web;
mod whole;

/// An error and its causes in one line, as it is printed and logged: `what: why: why`.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The README's Rust compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
