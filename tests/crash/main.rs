//! The crash storm: the real binary is killed with -9 at random, many times, on one data directory.
//!
//! Producers by every way in send all the while: lines with numbers, with a `transactionId`, with neither; requests
//! to the relay; applications with an emitter and a gateway, which are killed as well. A stand-in for Revenium, which
//! outlives the agent, answers with every fault that leaves a record deliverable. Afterwards an oracle that
//! knows nothing of the agent's own files compares what the producers know was acknowledged with
//! what the stand-in's journal says was tried and billed (see `oracle`), and with the ledger that
//! `status` shows.
//!
//! | variable | means | default |
//! |---|---|---|
//! | `REVENIUM_CRASH_ROUNDS` | kills | 25 |
//! | `REVENIUM_CRASH_SEED` | where chance begins; printed by every run | the clock |
//! | `REVENIUM_CRASH_KEEP` | keep data, journal and log of a run that passes, too | |
//!
//! `fault` kills at chosen moments instead, and lets calls of the system fail; `machine` kills the whole machine. They
//! have variables of their own.
//!
//! A seed repeats the plan (what is sent, which faults, when to kill), not the machine's timing.
//! What kill -9 can't show is a missing flush, since the page cache survives it; `tests/power` loses
//! unflushed writes for that, and so does `machine`.

mod agent;
mod call;
mod caller;
mod cast;
mod dice;
mod event;
mod fault;
mod gateway;
mod keeper;
mod look;
mod machine;
mod oracle;
mod plan;
mod producer;
#[path = "../gateway/provider.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod provider;
mod stage;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod upstream;
