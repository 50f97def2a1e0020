//! The `revenium-agent` command.

fn main() {}
