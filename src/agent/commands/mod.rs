//! What the `revenium-agent` command can do, one module a command.

pub mod send;
