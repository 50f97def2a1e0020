//! Disks and upstreams that are sick for a while, under the running agent: what it says meanwhile, what
//! it goes on with, and that nothing acknowledged is lost, doubled or altered once they are well.
//!
//! `failing` has a file system of our own that fails on demand, `far` one that says it is on the network; `readonly`
//! and `frozen` have a real one on a loop device, which takes root, and are skipped elsewhere; `cut` has an upstream
//! whose answers end at any byte. Who sends, and who judges it afterwards, is the crash test's.

mod cut;
mod device;
mod failing;
mod far;
mod frozen;
mod gate;
mod readonly;
mod scene;
mod stand_in;

#[path = "../crash/call.rs"]
#[allow(dead_code, reason = "the crash test has more sorts of senders")]
mod call;
#[path = "../crash/caller.rs"]
mod caller;
#[path = "../power/content.rs"]
#[allow(dead_code, reason = "the power test cuts it off, too")]
mod content;
#[path = "../crash/dice.rs"]
#[allow(dead_code, reason = "the crash test throws them in more ways")]
mod dice;
#[path = "../power/disk.rs"]
#[allow(dead_code, reason = "the power test cuts it off, too")]
mod disk;
#[path = "../crash/event.rs"]
#[allow(dead_code, reason = "the crash test has more sorts of senders")]
mod event;
#[path = "../power/luck.rs"]
#[allow(dead_code, reason = "the power test cuts it off, too")]
mod luck;
#[path = "../power/mount.rs"]
#[allow(dead_code, reason = "the power test cuts it off, too")]
mod mount;
#[path = "../crash/oracle.rs"]
#[allow(dead_code, reason = "the crash test tells more of it")]
mod oracle;
#[path = "../power/place.rs"]
#[allow(dead_code, reason = "the power test tallies them")]
mod place;
#[path = "../crash/producer.rs"]
#[allow(dead_code, reason = "the crash test has more sorts of senders")]
mod producer;
#[path = "../gateway/provider.rs"]
#[allow(dead_code, reason = "the gateway's tests use all of it")]
mod provider;
#[path = "../power/sick.rs"]
mod sick;
#[path = "../crash/stage.rs"]
#[allow(dead_code, reason = "the crash test kills the agent, too")]
mod stage;
#[path = "../support/mod.rs"]
mod support;
#[path = "../crash/upstream.rs"]
#[allow(dead_code, reason = "the crash test has weather")]
mod upstream;
