//! `doctor` on the real binary: a fault for each of its ids, and a machine without one.
//!
//! Where a fault needs what the machine has only one of (a mount, `/etc`, the network), the command runs in
//! namespaces of its own, which needs root; without it such a test prints that it was skipped.

mod network;
mod place;
mod report;
mod standin;
mod upstream;
mod whole;
