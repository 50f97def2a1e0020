//! Hands metered LLM usage to `revenium-agent`.

pub mod place;
