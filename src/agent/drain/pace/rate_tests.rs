//! A rate on its own: how it starts, follows the load, answers a 429, and shrinks unused.

use super::*;

const LIMIT: u32 = 1000;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn left(remaining: u32) -> Option<RateWindow> {
    Some(RateWindow { limit: LIMIT, remaining, reset: 0 })
}

/// Runs one round in which every request waited for the rate and found `window`.
fn round(rate: &mut Rate, window: Option<RateWindow>, from: Instant, random: &mut Random) -> Instant {
    let mut now = from;
    for _ in 0..10_000 {
        let at = rate.next_send(now);
        now = at.max(now);
        rate.sent(now, random);
        rate.next_send(now);
        let before = rate.per_second();
        rate.answered(now, window, now, random);
        if rate.per_second() != before {
            break;
        }
    }
    now
}

#[test]
fn a_round_moves_the_rate_towards_the_aim() {
    let rows = [
        // The load seen, the rate before, the rate after.
        (0.001, 2.0, 16.14),
        (0.15, 4.0, 8.2),
        (0.6, 100.0, 101.0),
        (0.8, 100.0, 87.6),
        (1.0, 100.0, 78.46),
    ];
    for (load, before, after) in rows {
        let round =
            Round { sent: 200, answers: 200, load: Some(load), was_limiting: true, started: Instant::now() };
        let rate = round.rate_after(before, None, seconds(2.0));
        assert!((rate - after).abs() < 0.01, "{load} {before} {rate}");
    }
}

#[test]
fn without_headers_a_rate_doubles_until_a_429_and_then_adds() {
    let mut random = Random::seeded(1);
    let start = Instant::now();
    let mut rate = Rate::adaptive(START, start);
    let mut now = start;
    for doubled in [4.0, 8.0, 16.0, 32.0] {
        now = round(&mut rate, None, now, &mut random);
        assert_eq!(rate.per_second(), doubled);
    }
    rate.throttled(now, now + seconds(0.1));
    assert_eq!(rate.per_second(), 16.0);
    // Sent before the decrease was known: the same event.
    rate.throttled(now + seconds(0.05), now + seconds(0.2));
    assert_eq!(rate.per_second(), 16.0);
    now = round(&mut rate, None, now + seconds(0.2), &mut random);
    assert_eq!(rate.per_second(), 16.4);
    rate.throttled(now, now + seconds(0.1));
    assert_eq!(rate.per_second(), 8.2);
}

#[test]
fn an_agent_that_finds_the_window_nearly_used_up_waits_for_the_next() {
    let mut random = Random::seeded(1);
    let start = Instant::now();
    for _ in 0..100 {
        let mut rate = Rate::adaptive(500.0, start);
        rate.sent(start, &mut random);
        rate.answered(start, left(121), start, &mut random);
        assert!(rate.next_send(start) < start + seconds(0.01));
        rate.answered(start, left(119), start, &mut random);
        let held = rate.next_send(start) - start;
        assert!(held >= seconds(0.3) && held <= seconds(1.0), "{held:?}");
    }
}

#[test]
fn a_rate_that_is_not_used_shrinks() {
    let start = Instant::now();
    let mut rate = Rate::adaptive(600.0, start);
    rate.next_send(start + seconds(5.0));
    assert!(rate.per_second() > 142.0 && rate.per_second() < 143.0, "{}", rate.per_second());
    rate.next_send(start + seconds(60.0));
    assert_eq!(rate.per_second(), START);
    // Half used in a round, too; and an unused rate does not grow.
    let round = Round { sent: 10, answers: 10, load: Some(0.01), was_limiting: false, started: start };
    assert_eq!(round.rate_after(100.0, None, seconds(1.0)), 75.0);
    assert_eq!(round.rate_after(15.0, None, seconds(1.0)), 15.0);
    assert_eq!(round.rate_after(1.0, None, seconds(1.0)), 1.0);
}

#[test]
fn a_late_loop_catches_up_by_milliseconds_and_no_more() {
    let mut random = Random::seeded(1);
    let start = Instant::now();
    let mut rate = Rate::fixed(1000.0, start);
    let now = start + seconds(10.0);
    let mut burst = 0;
    while rate.next_send(now) <= now {
        rate.sent(now, &mut random);
        burst += 1;
    }
    assert!((18..=24).contains(&burst), "{burst}");
}

#[test]
fn a_fixed_rate_learns_nothing() {
    let mut random = Random::seeded(1);
    let start = Instant::now();
    let mut rate = Rate::fixed(50.0, start);
    rate.throttled(start, start);
    round(&mut rate, left(0), start, &mut random);
    rate.next_send(start + seconds(900.0));
    assert_eq!(rate.per_second(), 50.0);
}
