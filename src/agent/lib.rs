//! The agent: ways in, the drain, and what an operator sees.

pub mod intake;
pub mod queue;
