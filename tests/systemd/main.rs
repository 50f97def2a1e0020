//! The agent as a service of a real systemd, which is PID 1 of a machine made for the test.
//!
//! The machine is a container over a throw-away copy-on-write layer of this machine's own files, with
//! a loopback of its own; it is up in about a second. It needs root and Debian's systemd-container.
//! Where it cannot run these tests fail: a unit that was not run is not tested.

mod activation;
mod bad_input;
mod doctor;
mod gateway;
mod key;
mod life;
mod load;
mod machine;
mod package;
mod purge;
mod setup;
mod start;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod unit;
