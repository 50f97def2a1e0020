//! The real binary and a stand-in for Revenium, each a process of its own, and what tests ask them.
//!
//! Tests wait for conditions (a log line, a status, a line of the stand-in's journal) and never for
//! a time; what does not come within [`wait::AT_MOST`] fails with what was seen last.

#![allow(dead_code, unused_imports, reason = "every test program uses its own part of this")]

mod agent;
mod http;
mod sandbox;
mod socket;
mod spool;
mod terminal;
mod wait;

pub(crate) use agent::{Agent, Ended, Home, KEY, OTHER_KEY, assert_no_secret, names};
pub(crate) use http::{Answer, Http};
pub(crate) use sandbox::{Billed, Sandbox, unused_address};
pub(crate) use socket::{Line, Producer, completion};
pub(crate) use spool::{SpoolFile, spool_files};
pub(crate) use terminal::Terminal;
pub(crate) use wait::until;
