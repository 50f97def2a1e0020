//! Lanes, ends and accounts, and stopping.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_backlog_never_starves_what_happens_now() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.settings.pacing = Pacing::Fixed(10.0);
    stage.queue.add("p", 0, 5000);
    let (queue, upstream) = (stage.queue.clone(), stage.upstream.clone());
    let live = async move {
        sleep(seconds(20)).await;
        for _ in 0..30 {
            let n = queue.add("p", 0, 1)[0];
            sleep(seconds(4)).await;
            assert_eq!(upstream.attempts_of(n).len(), 1, "{n} waited behind the backlog");
        }
    };
    stage.drain_while(200, live).await;
    let attempts = stage.upstream.attempts();
    // The oldest go on in order meanwhile, three in four.
    let oldest = attempts.iter().filter(|attempt| attempt.n < attempts.len() as u64).count();
    let share = oldest as f64 / attempts.len() as f64;
    assert!((0.7..0.8).contains(&share), "{share}");
}

#[tokio::test(start_paused = true)]
async fn lanes_take_turns() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.profile("q", "a", key("right"));
    stage.settings.pacing = Pacing::Fixed(10.0);
    stage.queue.add("p", 0, 5000);
    stage.queue.add("p", 4, 50);
    stage.queue.add("q", 0, 50);
    stage.drain_for(20).await;
    let attempts = stage.upstream.attempts();
    let share = |profile: &str| attempts.iter().filter(|attempt| attempt.profile == profile).count();
    assert!((60..70).contains(&share("q")) || share("q") == 50, "{} of {}", share("q"), attempts.len());
    assert!(attempts.len() >= 195 && attempts.len() <= 205, "{}", attempts.len());
}

#[tokio::test(start_paused = true)]
async fn accounts_do_not_wait_for_each_other() {
    let mut stage = Stage::new(Script::new(|asked| match &*asked.record.lane.profile {
        "p" => Said::silence().after(seconds(30)),
        _ => Said::created(),
    }));
    stage.profile("q", "b", key("right"));
    stage.queue.add("p", 0, 100);
    stage.queue.add("q", 0, 100);
    stage.queue.add("nobody's", 0, 100);
    let drain = stage.drain();
    let status = drain.status();
    drain.run(sleep(seconds(65))).await.expect("no panic");
    assert_eq!(stage.queue.delivered(), 100);
    let accounts = status.snapshot();
    let told: Vec<_> = accounts.iter().map(|account| (&*account.account, account.outage.is_some())).collect();
    assert_eq!(told, [("a", true), ("b", false)]);
    assert!(stage.upstream.attempts().iter().all(|attempt| attempt.profile != "nobody's"));
}

#[tokio::test(start_paused = true)]
async fn requests_in_flight_are_bounded() {
    for (set, bound) in [(7, 7), (0, IN_FLIGHT_MAX)] {
        let mut stage = Stage::new(Script::new(|_| Said::created().after(seconds(1))));
        stage.settings.in_flight_max = set;
        stage.queue.add("p", 0, 3000);
        stage.drain_for(5).await;
        assert_eq!(stage.upstream.in_flight_most(), bound);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_in_flight_are_bounded() {
    let mut stage = Stage::new(Script::new(|_| Said::created().after(seconds(1))));
    stage.queue.add("p", 0, 200);
    let large = bytes::Bytes::from(vec![b'x'; 1 << 20]);
    (0..200).for_each(|n| stage.queue.change(n, |record| record.body = large.clone()));
    stage.drain_for(20).await;
    assert_eq!((stage.upstream.in_flight_most(), stage.queue.delivered()), (32, 200));
}

#[tokio::test(start_paused = true)]
async fn a_record_that_comes_is_sent_at_once() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.settings.pacing = Pacing::Adaptive;
    let (queue, upstream) = (stage.queue.clone(), stage.upstream.clone());
    let live = async move {
        for _ in 0..10 {
            sleep(Duration::from_millis(7300)).await;
            let n = queue.add("p", 0, 1)[0];
            sleep(Duration::from_millis(25)).await;
            assert_eq!(upstream.attempts_of(n).len(), 1, "{n} waited");
        }
    };
    stage.drain_while(100, live).await;
}

#[tokio::test(start_paused = true)]
async fn stopping_lets_requests_end_and_gives_back_the_rest() {
    let mut stage = Stage::new(Script::new(|asked| match asked.n {
        0 => Said::created(),
        _ => Said::created().after(seconds(3)),
    }));
    stage.settings.in_flight_max = 10;
    stage.queue.add("p", 0, 1000);
    let start = Instant::now();
    let summary = stage.drain_for(1).await;
    assert_eq!(summary, Summary { delivered: 11, ..Summary::default() });
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!((stage.queue.claimed(), stage.queue.waiting().len()), (0, 989));
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_comes_back_after_the_stop_is_given_back() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.queue.claims_take(Duration::from_millis(1500));
    stage.queue.add("p", 0, 10);
    assert_eq!(stage.drain_for(1).await, Summary::default());
    assert_eq!((stage.queue.claimed(), stage.queue.waiting().len()), (0, 10));
}

#[tokio::test(start_paused = true)]
async fn stopping_has_a_deadline_and_what_is_given_up_is_sent_again() {
    let mut stage = Stage::new(Script::new(|asked| match (asked.n, asked.before) {
        (0, 0) => Said::created().after(seconds(9999)),
        _ => Said::created(),
    }));
    stage.settings.in_flight_max = 10;
    stage.queue.add("p", 0, 5);
    let start = Instant::now();
    let summary = stage.drain_for(1).await;
    assert_eq!(summary, Summary { delivered: 4, abandoned: 1, ..Summary::default() });
    assert_eq!(start.elapsed().as_secs(), 11);
    let waiting = stage.queue.waiting();
    assert_eq!((waiting.len(), waiting[0].attempts, waiting[0].first_attempt_at_ms), (1, 1, START_MS));
    assert!(stage.queue.not_before_ms(0) <= START_MS + 11_000);
    stage.drain_for(1).await;
    assert_eq!((stage.queue.delivered(), stage.upstream.billed()), (5, 5));
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_profiles_waits_to_be_stopped() {
    let mut stage = Stage::new(Script::new(|_| Said::created()));
    stage.profiles.clear();
    stage.queue.add("p", 0, 1);
    let start = Instant::now();
    assert_eq!(stage.drain_for(5).await, Summary::default());
    assert_eq!(start.elapsed(), seconds(5));
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_dropped_loses_nothing() {
    let mut stage = Stage::new(Script::new(|_| Said::created().after(seconds(1))));
    stage.settings.in_flight_max = 10;
    stage.queue.add("p", 0, 100);
    let drain = stage.drain();
    tokio::select! {
        _ = drain.run(std::future::pending()) => panic!("nobody stopped it"),
        () = sleep(Duration::from_millis(2500)) => {}
    }
    // Few until the first is taken, then as many as may be.
    assert_eq!(stage.queue.delivered(), 3 + 10);
    stage.drain_for(60).await;
    assert_eq!((stage.queue.delivered(), stage.upstream.billed()), (100, 100));
}
