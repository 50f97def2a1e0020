//! The emitter against an agent that does what a test tells it: answers late, cuts off, refuses, vanishes,
//! comes back. It holds every sender to the protocol.

mod agent;
mod away;
mod bad_input;
mod fork;
mod full;
mod hand_in;
mod normal;
mod partial;
mod permission;
mod refused;
