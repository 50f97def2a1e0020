//! Three users and one agent: who may send, what the others are told, what another user left behind.
//!
//! The real binary runs as real users, so this needs root, who alone may become them; without it
//! each test prints that it was skipped. Users and groups are Debian's own, of which nobody is logged in.

mod doctor;
mod key;
mod leftovers;
mod member;
mod spool;
#[path = "../support/mod.rs"]
mod support;
mod world;
