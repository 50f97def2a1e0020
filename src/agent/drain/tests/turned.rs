//! The wall clock is set while the drain runs.

use std::sync::atomic::Ordering;

use super::*;

const DAY_MS: i64 = 24 * 3_600_000;

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_by_a_day_makes_no_record_older() {
    for set_ms in [DAY_MS, -DAY_MS] {
        let mut stage = Stage::new(Script::new(|asked| match asked.n {
            0 | 10 => Said::status(403).body("not this one"),
            1 | 11 => Said::status(500).body("oops"),
            _ => Said::created(),
        }));
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
