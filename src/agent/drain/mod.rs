//! The drain.

mod backoff;
mod clock;
mod pace;
mod pauses;
mod random;
mod reason;
mod status;
mod suspects;
