//! The agent: ways in, the drain, and what an operator sees.

pub mod drain;
pub mod queue;
pub mod upstream;
