//! Calls, from the provider's bytes to the events.

mod bad_input;
mod captures;
mod cassettes;
mod identity;
mod line;
mod mapping;
mod passes;
mod properties;
mod streams;
mod support;
