//! The parts of a pace together: waits, probes, outages, refusals, restarts.

use super::*;
use crate::drain::clock::Now;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn pace(pacing: Pacing, now: Instant) -> Pace {
    Pace::new(pacing, 0, seconds(60.0), Random::seeded(11), now)
}

fn answer(kind: Kind<'_>, sent_at: Instant) -> Answer<'_> {
    Answer { sent_at, kind, after: None, window: None }
}

fn throttled(sent_at: Instant, after_s: f64) -> Answer<'static> {
    Answer { after: Some(seconds(after_s)), ..answer(Kind::Throttled("error-pattern"), sent_at) }
}

#[test]
fn an_hour_asked_for_is_an_hour_and_then_one_probe() {
    let start = Instant::now();
    for pacing in [Pacing::Adaptive, Pacing::Fixed(100.0), Pacing::Unlimited] {
        let mut pace = pace(pacing, start);
        assert_eq!(pace.gate(1, start), Gate::Open);
        assert!(pace.answered(&throttled(start, 3600.0), start));
        // The rest of those in flight are answered alike, or not.
        pace.answered(&throttled(start, 3600.0), start + seconds(1.0));
        pace.answered(&answer(Kind::Delivered, start), start + seconds(1.0));
        let Gate::At(until) = pace.gate(0, start + seconds(3599.9)) else { panic!("{pacing:?}") };
        assert!(until >= start + seconds(3601.0) && until <= start + seconds(3601.0 + 360.0));
        assert_eq!(pace.throttled(start).map(|throttle| throttle.reason.as_str()), Some("error-pattern"));
        assert_eq!((pace.gate(0, until), pace.gate(1, until)), (Gate::Open, Gate::Busy));
        pace.sent(until);
        assert!(pace.answered(&answer(Kind::Delivered, until), until + seconds(0.1)));
        assert_eq!(pace.gate(1, until + seconds(2.0)), Gate::Open);
    }
}

#[test]
fn a_429_that_names_no_wait_is_met_with_waits_that_double() {
    let mut now = Instant::now();
    let mut pace = pace(Pacing::Unlimited, now);
    for longest in [1.0, 2.0, 4.0, 8.0] {
        pace.answered(&answer(Kind::Throttled(""), now), now);
        let Gate::At(until) = pace.gate(0, now) else { panic!("not throttled") };
        let wait = (until - now).as_secs_f64();
        assert!(wait >= longest / 2.0 && wait <= longest + 0.001, "{wait} of {longest}");
        now = until;
    }
}

#[test]
fn an_outage_leaves_one_probe_and_the_first_answer_ends_it() {
    let start = Instant::now();
    let mut pace = pace(Pacing::Unlimited, start);
    for _ in 0..5 {
        assert_eq!(pace.gate(100, start), Gate::Open);
        pace.answered(&answer(Kind::Failed, start), start);
    }
    assert_eq!(pace.gate(4, start), Gate::Busy);
    let Gate::At(probe) = pace.gate(0, start) else { panic!("no outage") };
    assert_eq!((pace.gate(0, probe), pace.gate(1, probe)), (Gate::Open, Gate::Busy));
    assert!(pace.outage().is_some());
    pace.answered(&answer(Kind::Refused, probe), probe + seconds(0.1));
    assert_eq!(pace.gate(100, probe + seconds(0.1)), Gate::Open);
}

#[test]
fn refusals_in_a_row_slow_right_down() {
    let mut now = Instant::now();
    let mut pace = pace(Pacing::Unlimited, now);
    let mut sent = 0;
    let end = now + seconds(3600.0);
    while now < end {
        match pace.gate(0, now) {
            Gate::Open => {
                sent += 1;
                pace.answered(&answer(Kind::Refused, now), now);
            }
            Gate::At(at) => now = at,
            Gate::Busy => panic!("nothing is in flight"),
        }
    }
    assert!(sent < 75, "{sent} refusals in an hour");
    assert_eq!(pace.gate(1, now), Gate::Busy);
}

#[test]
fn in_flight_is_rate_times_round_trip_within_bounds() {
    let start = Instant::now();
    let mut pace = pace(Pacing::Adaptive, start);
    assert_eq!(pace.in_flight_max(), 2);
    pace.rate = Rate::adaptive(100.0, start);
    pace.answered(&answer(Kind::Delivered, start), start + seconds(0.3));
    assert_eq!(pace.in_flight_max(), 45);
    pace.rate = Rate::adaptive(9000.0, start);
    assert_eq!(pace.in_flight_max(), IN_FLIGHT_MAX);
    let one = Pace::new(Pacing::Adaptive, 1, seconds(60.0), Random::seeded(1), start);
    assert_eq!(one.in_flight_max(), 1);
}

#[test]
fn what_was_asked_for_and_what_was_learned_survive_a_restart() {
    let start = Instant::now();
    let mut before = pace(Pacing::Adaptive, start);
    before.rate = Rate::adaptive(400.0, start);
    for _ in 0..7 {
        before.answered(&answer(Kind::Refused, start), start);
    }
    before.answered(&throttled(start, 3600.0), start);
    let until = before.throttled(start).expect("throttled").until;
    let saved = before.save(Now { at: start, wall_ms: 1_000_000 });
    assert!(saved.len() < 300, "{}", String::from_utf8_lossy(&saved));

    // Ten minutes later by the wall clock, in a process with another monotonic clock.
    let later = Instant::now() + seconds(5.0);
    let mut after = pace(Pacing::Adaptive, later);
    after.restore(&saved, Now { at: later, wall_ms: 1_600_000 });
    let throttle = after.throttled(later).expect("still throttled");
    let (waits, expected) = (throttle.until - later, until - start - seconds(600.0));
    assert!(waits.abs_diff(expected) < seconds(0.01), "{waits:?} {expected:?}");
    assert_eq!(throttle.reason, "error-pattern");
    assert!(after.is_slowed_by_refusals());
    assert_eq!(after.per_second(), Some(rate::START));

    let mut soon = pace(Pacing::Adaptive, later);
    soon.restore(&saved, Now { at: later, wall_ms: 1_001_000 });
    assert_eq!(soon.per_second(), Some(150.0));
    // A wall clock that was set far ahead or back: the wait ends all the same.
    let mut odd = pace(Pacing::Adaptive, later);
    odd.restore(&saved, Now { at: later, wall_ms: 0 });
    assert!(odd.throttled(later).expect("throttled").until <= later + crate::upstream::AFTER_MAX);
    let mut odd = pace(Pacing::Adaptive, later);
    odd.restore(&saved, Now { at: later, wall_ms: u64::MAX });
    assert_eq!(odd.throttled(later), None);
    odd.restore(b"{", Now { at: later, wall_ms: 0 });
    odd.restore(b"{\"unknown\":1}", Now { at: later, wall_ms: 0 });
    assert_eq!(odd.throttled(later), None);
}
