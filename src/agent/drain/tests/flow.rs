//! What an answer does to its record.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_retried_with_the_same_bytes_and_key() {
    // {did it happen} × {did we hear}.
    let firsts = [
        Said::created(),
        Said::silence().but_takes_it(),
        Said::status(502).but_takes_it(),
        Said::silence(),
        Said::status(500),
    ];
    let count = firsts.len() as u64;
    let mut stage = Stage::new(Script::new(move |asked| match asked.before {
        0 => {
            (0..).zip(&firsts).find(|(n, _)| *n == asked.n).map_or(Said::created(), |(_, said)| said.clone())
        }
        _ => Said::created(),
    }));
    stage.queue.add("p", 0, count);
    let summary = stage.drain_for(30).await;
    assert_eq!(summary, Summary { delivered: count, postponed: count - 1, ..Summary::default() });
    assert_eq!((stage.queue.waiting().len(), stage.upstream.billed()), (0, 5));
    let tries: Vec<usize> = (0..count).map(|n| stage.upstream.attempts_of(n).len()).collect();
    assert_eq!(tries, [1, 2, 2, 2, 2]);
    let again = stage.upstream.attempts_of(1);
    assert_eq!((&again[0].key, &again[0].body), (&again[1].key, &again[1].body));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_down_for_a_day_loses_nothing_and_ends_nothing() {
    let up_again = seconds(24 * 3600 + 3600);
    let mut stage = Stage::new(Script::new(move |asked| match asked.at < up_again {
        true => Said::status(503),
        false => Said::created(),
    }));
    stage.queue.add("p", 0, 20);
    stage.drain_for(13 * 3600).await;
    stage.drain_for(13 * 3600).await;
    assert_eq!((stage.queue.dead(), stage.queue.delivered()), (vec![], 20));
    // Probes at most: one a minute, not twenty.
    let probes = stage.upstream.attempts().iter().filter(|attempt| attempt.at < up_again).count();
    assert!(probes < 25 * 130, "{probes}");
    assert!(stage.upstream.after_key_expiry() > 0, "sent after Revenium forgot their keys, and counted");
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_one_at_a_time_and_recovered_from_at_once() {
    let up_again = seconds(3600);
    let mut stage = Stage::new(Script::new(move |asked| match asked.at < up_again {
        true => Said::silence(),
        false => Said::created(),
    }));
    stage.queue.add("p", 0, 500);
    let drain = stage.drain();
    let status = drain.status();
    let told = async {
        sleep(seconds(1800)).await;
        let (since_ms, next_ms) = status.snapshot()[0].outage.expect("told");
        assert!(since_ms < START_MS + 10_000 && next_ms >= START_MS + 1_800_000, "{since_ms} {next_ms}");
    };
    let (ended, ()) = tokio::join!(drain.run(sleep(seconds(3700))), told);
    ended.expect("no panic");
    let attempts = stage.upstream.attempts();
    let in_outage = attempts.iter().filter(|attempt| attempt.at > seconds(10) && attempt.at < up_again);
    let probes = in_outage.count();
    assert!((50..150).contains(&probes), "{probes} probes in an hour");
    assert_eq!(stage.queue.delivered(), 500);
    assert_eq!(status.snapshot()[0].outage, None);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_dead_letter_with_the_servers_words() {
    let mut stage = Stage::new(Script::new(|asked| match asked.n {
        0 => Said::status(400).body(r#"{"message":"model is required"}"#),
        1 => Said::status(413),
        2 => Said::status(409).body(r#"{"error":"idempotency_key_mismatch"}"#),
        _ => Said::created(),
    }));
    stage.queue.add("p", 0, 10);
    let summary = stage.drain_for(30).await;
    assert_eq!(summary, Summary { delivered: 7, dead: 3, ..Summary::default() });
    let dead: Vec<_> =
        stage.queue.dead().into_iter().map(|(n, note)| (n, note.reason, note.status, note.words)).collect();
    let expected = [
        (0, Reason::RefusedByUpstream.code(), 400, "model is required".to_owned()),
        (1, Reason::TooLarge.code(), 413, String::new()),
        (2, Reason::Mismatch.code(), 409, "idempotency_key_mismatch".to_owned()),
    ];
    assert_eq!(dead, expected);
    assert_eq!(stage.upstream.attempts_of(0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_in_progress_waits_as_long_as_it_is_told() {
    let mut stage = Stage::new(Script::new(|asked| match asked.before {
        0 => Said::status(409).body("idempotency_key_in_progress").header("retry-after", "7"),
        _ => Said::created(),
    }));
    stage.queue.add("p", 0, 1);
    stage.drain_for(30).await;
    let attempts = stage.upstream.attempts();
    assert_eq!(attempts.len(), 2);
    let waited = attempts[1].at - attempts[0].at;
    assert!(waited >= seconds(7) && waited < seconds(10), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_poison_record_blocks_nobody_and_is_a_dead_letter_in_the_end() {
    let mut stage = Stage::new(Script::new(|asked| match asked.n {
        5 => Said::status(403).body("not this one"),
        _ => Said::created(),
    }));
    stage.queue.add("p", 0, 100);
    let queue = stage.queue.clone();
    let flow = async move {
        for _ in 0..500 {
            sleep(seconds(10)).await;
            queue.add("p", 0, 1);
        }
    };
    stage.drain_while(6000, flow).await;
    assert_eq!(stage.queue.delivered(), 599);
    let dead = stage.queue.dead();
    assert_eq!(dead.len(), 1);
    let (n, note) = &dead[0];
    assert_eq!((*n, note.reason, note.status), (5, Reason::RefusedAlone.code(), 403));
    let tries = stage.upstream.attempts_of(5);
    let (first, last) = (tries[0].at, tries[tries.len() - 1].at);
    assert!((5..20).contains(&tries.len()) && last - first >= seconds(3600), "tried for an hour: {tries:?}");
    let slowest = stage.upstream.attempts().windows(2).map(|two| two[1].at - two[0].at).max();
    assert!(slowest <= Some(seconds(11)), "nobody waited for it: {slowest:?}");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_draws_500_for_a_day_while_others_pass_is_a_suspect() {
    let mut stage = Stage::new(Script::new(|asked| match asked.n {
        0 => Said::status(500).body("oops"),
        _ => Said::created(),
    }));
    stage.queue.add("p", 0, 1);
    for hours in [23, 3] {
        let queue = stage.queue.clone();
        let flow = async move {
            for _ in 0..hours * 120 - 1 {
                sleep(seconds(30)).await;
                queue.add("p", 0, 1);
            }
        };
        stage.drain_while(hours * 3600, flow).await;
        match hours {
            23 => assert_eq!(stage.queue.dead(), vec![]),
            _ => {
                let dead = stage.queue.dead();
                assert_eq!(dead.len(), 1);
                assert_eq!(
                    (dead[0].0, dead[0].1.reason, &*dead[0].1.words),
                    (0, Reason::Suspect.code(), "oops")
                );
            }
        }
    }
    assert_eq!(stage.queue.waiting().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_whose_key_revenium_has_forgotten_is_sent_and_counted() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.queue.add("p", 0, 2);
    stage.queue.change(0, |record| {
        record.attempts = 3;
        record.first_attempt_at_ms = START_MS - 25 * 3_600_000;
    });
    stage.drain_for(5).await;
    assert_eq!((stage.queue.delivered(), stage.upstream.after_key_expiry()), (2, 1));
}

/// Every kind of answer in random order, and drains that are killed at random moments.
#[tokio::test(start_paused = true)]
async fn whatever_is_answered_and_whenever_it_is_killed_every_record_ends_once() {
    for seed in 1..=20 {
        let answers = move |n: u64, before: usize| {
            let mut random = Random::seeded(seed * 1_000_003 + n * 101 + before as u64);
            random.unit();
            let status = |status| Said::status(status);
            let said = match before {
                6.. => Said::created(),
                _ => match random.between(0.0, 14.0) {
                    ..4.0 => Said::created(),
                    ..5.0 => Said::silence(),
                    ..6.0 => Said::silence().but_takes_it(),
                    ..7.0 => status(503).header("retry-after", "2"),
                    ..8.0 => status(500).but_takes_it(),
                    ..9.0 => status(429).header("retry-after", "1"),
                    ..10.0 => status(401),
                    ..11.0 => status(302),
                    ..12.0 => status(409).body("idempotency_key_in_progress").header("retry-after", "1"),
                    ..13.0 => status(200).body("<html>"),
                    _ if n.is_multiple_of(7) => status(400),
                    _ => status(408),
                },
            };
            said.after(Duration::from_secs_f64(random.between(0.001, 3.0)))
        };
        let mut stage = Stage::new(Script::new(move |asked| answers(asked.n, asked.before)));
        stage.settings.in_flight_max = 8;
        stage.random = Random::seeded(seed);
        stage.queue.add("p", 0, 40);
        stage.queue.add("p", 4, 20);
        let mut random = Random::seeded(seed);
        let mut kills = 0;
        for _ in 0..2000 {
            if stage.queue.waiting().is_empty() {
                break;
            }
            stage.queue.reopen();
            let drain = stage.drain();
            tokio::select! {
                _ = drain.run(std::future::pending()) => panic!("nobody stopped it"),
                () = sleep(Duration::from_secs_f64(random.between(0.1, 30.0))) => kills += 1,
            }
        }
        let (delivered, dead) = (stage.queue.delivered(), stage.queue.dead().len());
        println!(
            "seed {seed}: {kills} kills, {delivered} delivered, {dead} dead, {} attempts",
            stage.upstream.attempts().len()
        );
        assert_eq!((stage.queue.waiting().len(), delivered + dead), (0, 60));
        assert!(stage.upstream.billed() >= delivered);
    }
}
