//! The agent: ways in, the drain, and what an operator sees.

pub mod client;
pub mod commands;
pub mod intake;
pub mod queue;
