//! What pauses and what does not, how a pause is probed, and what a restart keeps.

use super::*;

const COMPLETIONS: u8 = 0;
const TOOLS: u8 = 4;

/// Drives the pauses of one profile along a virtual clock.
struct Run {
    pauses: Pauses,
    now: Now,
}

impl Run {
    fn new() -> Self {
        let now = Now { at: Instant::now(), wall_ms: 1_000_000 };
        Self { pauses: Pauses::new(COMPLETIONS, true, Random::seeded(5), now), now }
    }

    fn after(&mut self, wait: Duration) {
        self.now =
            Now { at: self.now.at + wait, wall_ms: self.now.wall_ms + crate::drain::clock::millis(wait) };
    }

    fn permit(&self, route: u8) -> Permit {
        self.pauses.permit(route, self.now.at)
    }

    fn answered(&mut self, route: u8, seq: u64, verdict: Verdict<'_>) -> bool {
        let sent = (self.now.at, false);
        self.pauses.answered(route, Seq(seq), sent, verdict, self.now)
    }

    fn blocked(&mut self, route: u8, seq: u64) -> bool {
        self.answered(route, seq, Verdict::Blocked(401, "no such key"))
    }

    fn all_blocked(&mut self, route: u8, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.blocked(route, seq);
        }
    }

    fn probe(&mut self, route: u8, seq: u64, verdict: Verdict<'_>) {
        assert_eq!(self.permit(route), Permit::Probe);
        self.pauses.probing(route);
        assert_eq!(self.permit(route), Permit::Wait, "one probe at a time");
        assert!(self.pauses.answered(route, Seq(seq), (self.now.at, true), verdict, self.now));
    }

    fn wait_s(&self, route: u8) -> f64 {
        match self.permit(route) {
            Permit::At(at) => (at - self.now.at).as_secs_f64(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn three_distinct_records_with_none_passing_in_between_pause_a_route() {
    let mut run = Run::new();
    assert!(!run.blocked(TOOLS, 1) && !run.blocked(TOOLS, 2));
    run.answered(TOOLS, 9, Verdict::Passed);
    assert!(!run.blocked(TOOLS, 3) && !run.blocked(TOOLS, 4));
    assert_eq!(run.permit(TOOLS), Permit::Open);
    assert!(run.blocked(TOOLS, 5));
    assert!(matches!(run.permit(TOOLS), Permit::At(_)));
    assert_eq!(run.permit(COMPLETIONS), Permit::Open);
    let status = run.pauses.status("p", run.now);
    let expected = PauseStatus {
        profile: "p".to_owned(),
        route: Some(TOOLS),
        why: PauseWhy::Blocked,
        status: 401,
        words: "no such key".to_owned(),
        since_ms: 1_000_000,
        next_probe_ms: status[0].next_probe_ms,
    };
    assert_eq!(status, vec![expected]);
}

#[test]
fn the_main_route_takes_the_whole_profile_with_it_and_one_that_passes_frees_it() {
    let mut run = Run::new();
    run.all_blocked(TOOLS, 1..=3);
    run.all_blocked(COMPLETIONS, 11..=13);
    assert!(matches!(run.permit(7), Permit::At(_)), "a route that met nothing waits too");
    // What was sent before the pause and passes is no sign that it is over.
    let sent = (run.now.at - Duration::from_secs(1), false);
    assert!(!run.pauses.answered(7, Seq(20), sent, Verdict::Passed, run.now));
    run.after(PROBE_FIRST);
    run.probe(COMPLETIONS, 21, Verdict::Passed);
    assert_eq!((run.permit(COMPLETIONS), run.permit(7)), (Permit::Open, Permit::Open));
    assert_eq!(run.permit(TOOLS), Permit::Probe, "the route's own pause is looked at again, now");
    run.probe(TOOLS, 22, Verdict::Passed);
    assert_eq!(run.permit(TOOLS), Permit::Open);
    assert_eq!(run.pauses.status("p", run.now), vec![]);
}

#[test]
fn probes_become_seldom_and_only_probes_make_them_so() {
    let mut run = Run::new();
    run.all_blocked(COMPLETIONS, 1..=3);
    let mut waits = Vec::new();
    for seq in 10..18 {
        // Those that were on their way when the pause began.
        (100..150).for_each(|seq| assert!(!run.blocked(COMPLETIONS, seq)));
        waits.push(run.wait_s(COMPLETIONS));
        run.after(PROBE_MAX);
        run.probe(COMPLETIONS, seq, Verdict::Blocked(401, "still"));
    }
    for (wait, longest) in waits.iter().zip([60.0, 120.0, 240.0, 480.0, 600.0, 600.0, 600.0, 600.0]) {
        assert!(*wait >= longest / 2.0 && *wait <= longest + 0.001, "{waits:?}");
    }
    run.after(PROBE_MAX);
    run.probe(COMPLETIONS, 30, Verdict::Unclear);
    assert!(run.wait_s(COMPLETIONS) <= 60.0, "an outage says nothing about the pause");
}

#[test]
fn a_probe_is_another_record_if_there_is_one() {
    let mut run = Run::new();
    run.all_blocked(COMPLETIONS, 1..=3);
    let mut choose = |seqs: &[u64]| run.pauses.choose_probe(COMPLETIONS, seqs.iter().map(|seq| Seq(*seq)));
    assert_eq!(choose(&[3, 2, 7, 8]), Some(2));
    assert_eq!(choose(&[3, 2]), Some(1), "else the one that met it longest ago");
    assert_eq!(choose(&[]), None);
}

#[test]
fn a_route_without_records_does_not_hold_up_the_probe_of_another() {
    let mut run = Run::new();
    run.all_blocked(COMPLETIONS, 1..=3);
    run.after(PROBE_FIRST);
    run.pauses.probing(COMPLETIONS);
    run.pauses.found_no_probe(COMPLETIONS, run.now.at);
    assert!((run.wait_s(COMPLETIONS) - 10.0).abs() < 0.01);
    run.probe(TOOLS, 9, Verdict::Passed);
    assert_eq!(run.permit(COMPLETIONS), Permit::Open);
}

#[test]
fn a_lone_record_pauses_its_route_but_not_its_profile_and_a_new_record_is_tried_at_once() {
    let mut run = Run::new();
    assert!(!run.blocked(COMPLETIONS, 1) && !run.blocked(COMPLETIONS, 1));
    assert!(run.blocked(COMPLETIONS, 1));
    assert_eq!(run.permit(TOOLS), Permit::Open);
    run.pauses.waiting(COMPLETIONS, 1, run.now.at);
    run.pauses.waiting(COMPLETIONS, 1, run.now.at);
    assert!(matches!(run.permit(COMPLETIONS), Permit::At(_)));
    run.pauses.waiting(COMPLETIONS, 2, run.now.at);
    run.probe(COMPLETIONS, 2, Verdict::Blocked(401, "it too"));
    run.pauses.waiting(COMPLETIONS, 3, run.now.at);
    run.probe(COMPLETIONS, 3, Verdict::Blocked(401, "and it"));
    // Three records: now it is sure, and the profile's.
    run.pauses.waiting(COMPLETIONS, 4, run.now.at);
    assert!(matches!(run.permit(COMPLETIONS), Permit::At(_)));
    assert!(matches!(run.permit(TOOLS), Permit::At(_)));
}

#[test]
fn a_changed_key_is_probed_with_at_once_and_a_missing_one_is_said() {
    let mut run = Run::new();
    run.all_blocked(COMPLETIONS, 1..=3);
    run.pauses.key_changed(true, run.now);
    run.probe(COMPLETIONS, 9, Verdict::Blocked(401, "nor this"));
    assert!(run.wait_s(COMPLETIONS) <= 60.0, "and the waits begin anew");
    run.after(Duration::from_secs(5));
    run.pauses.key_changed(false, run.now);
    assert_eq!(run.permit(COMPLETIONS), Permit::Wait);
    let status = run.pauses.status("p", run.now);
    assert_eq!(
        (status[0].why, status[0].since_ms, status[0].next_probe_ms),
        (PauseWhy::NoKey, 1_005_000, None)
    );
    run.pauses.key_changed(true, run.now);
    assert_eq!(run.permit(COMPLETIONS), Permit::Probe);
}

#[test]
fn pauses_survive_a_restart_and_a_new_key_or_url_is_probed_with_at_once() {
    let mut run = Run::new();
    assert_eq!(run.pauses.save(7, run.now), Vec::<u8>::new());
    run.all_blocked(TOOLS, 1..=3);
    run.all_blocked(COMPLETIONS, 1..=3);
    let saved = run.pauses.save(7, run.now);
    let before = run.pauses.status("p", run.now);

    let mut again = Run::new();
    again.after(Duration::from_secs(20));
    again.pauses.restore(&saved, 7, again.now);
    assert_eq!(again.pauses.status("p", again.now), before);
    assert!(matches!(again.permit(7), Permit::At(_)));

    let mut rekeyed = Run::new();
    rekeyed.pauses.restore(&saved, 8, rekeyed.now);
    assert_eq!((rekeyed.permit(COMPLETIONS), rekeyed.permit(TOOLS)), (Permit::Probe, Permit::Probe));

    let mut unread = Run::new();
    unread.pauses.restore(b"\xff", 7, unread.now);
    assert_eq!(unread.permit(TOOLS), Permit::Open);
}

#[test]
fn nine_pauses_with_long_words_fit_a_state() {
    let mut run = Run::new();
    let words = "\u{1F600}\"".repeat(500);
    for route in (0..8).rev() {
        for seq in 0..3 {
            run.answered(route, seq, Verdict::Blocked(403, &words));
        }
    }
    assert_eq!(run.pauses.each().count(), 8);
    let saved = run.pauses.save(7, run.now);
    assert!(saved.len() <= 4096, "{} bytes", saved.len());
}
