//! Every order of operations against a plain model: append, claim, settle, retry, discard,
//! relocate and recycle (in the background), reopen, crash (any unflushed subset of sectors is
//! lost), failed flushes, an index that was lost, is old, or is damaged.
//!
//! The model knows, per record, what may be true: what was acknowledged must be there with its
//! bytes and key; what was settled and noted durably must not come back; between the two, either.
//! `REVENIUM_MODEL_CASES` sets how many cases are run; a failing seed is printed by proptest.
#![allow(missing_docs)]

mod checks;
mod ops;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ops::{Loss, Op};
use proptest::test_runner::{Config, TestRunner};
use world::{Counts, World};

const LONG: Duration = Duration::from_secs(30);
const LANES: u8 = 3;

#[test]
fn any_order_of_operations_and_faults_loses_nothing_and_brings_nothing_back() {
    let cases = std::env::var("REVENIUM_MODEL_CASES").map_or(300, |n| n.parse().unwrap());
    let counts = Arc::new(Counts::default());
    // sled panics on damaged files, in its own threads too; the store's answer is what is tested.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|l| l.file().contains("sled")) {
            quiet(info);
        }
    }));
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&ops::ops(), |ops| {
        let mut world = World::new(counts.clone());
        ops.iter().for_each(|op| world.run(op));
        world.run(&Op::Reopen(Loss::Nothing));
        world.run(&Op::Reopen(Loss::Deleted));
        Ok(())
    });
    let n = |c: &AtomicU64| c.load(Ordering::Relaxed);
    println!(
        "model: {cases} cases, {} records, {} crashes losing {} sectors, {} failed flushes, {} reopens, {} index faults",
        n(&counts.records),
        n(&counts.crashes),
        n(&counts.sectors_lost),
        n(&counts.flushes_failed),
        n(&counts.reopened),
        n(&counts.index_faults)
    );
    result.unwrap();
    assert!(n(&counts.sectors_lost) > 0 && n(&counts.flushes_failed) > 0 && n(&counts.index_faults) > 0);
}
