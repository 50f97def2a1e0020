//! The wall clock is set while the drain runs.

use std::sync::atomic::Ordering;

use super::*;

const DAY_MS: i64 = 24 * 3_600_000;

/// The first and the eleventh record are turned down, whatever else passes.
fn upstream() -> Script {
    Script::new(|asked| match asked.n {
        0 | 10 => Said::status(403).body("not this one"),
        1 | 11 => Said::status(500).body("oops"),
        _ => Said::created(),
    })
}

/// A drain may begin anew in a process, as for a key, after the clock was set.
#[tokio::test(start_paused = true)]
async fn a_drain_that_begins_after_a_clock_was_set_takes_no_record_for_older() {
    for set_ms in [DAY_MS, -DAY_MS] {
        let mut stage = Stage::new(upstream());
        stage.queue.add("p", 0, 10);
        stage.drain_for(40).await;
        stage.ahead_ms.store(set_ms, Ordering::Relaxed);
        let queue = stage.queue.clone();
        let flow = async move {
            for _ in 0..330 {
                sleep(seconds(10)).await;
                queue.add("p", 0, 2);
            }
        };
        stage.drain_while(3_400, flow).await;
        assert_eq!(stage.queue.dead(), [], "in less than an hour, set by {set_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_by_a_day_makes_no_record_older() {
    for set_ms in [DAY_MS, -DAY_MS] {
        let mut stage = Stage::new(upstream());
        stage.queue.add("p", 0, 10);
        let (queue, ahead_ms) = (stage.queue.clone(), stage.ahead_ms);
        let flow = async move {
            for n in 0..340 {
                sleep(seconds(10)).await;
                if n == 3 {
                    ahead_ms.store(set_ms, Ordering::Relaxed);
                }
                queue.add("p", 0, 2);
            }
        };
        stage.drain_while(3_550, flow).await;
        assert_eq!(stage.queue.dead(), [], "in less than an hour, set by {set_ms} ms");
        assert_eq!(stage.queue.delivered(), 10 + 2 * 340 - 4);
    }
}
