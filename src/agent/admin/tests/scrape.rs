//! What a scrape shows of the board.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_scrape_shows_the_drain_as_it_is_now() {
    let (board, metrics) = (board(), metrics());
    let paused = Arc::new(Mutex::new(true));
    let is_paused = paused.clone();
    board.attach_drain(move || DrainView {
        claims: Default::default(),
        pauses: if *is_paused.lock().expect("whole") {
            vec![PauseView {
                profile: "default".to_owned(),
                route: None,
                reason: PauseReason::Key,
                words: String::new(),
                since_ms: 0,
                next_probe_ms: None,
            }]
        } else {
            Vec::new()
        },
        pace: vec![pace()],
        ..DrainView::default()
    });
    let scrape = || {
        route::answer(Door::Admin, &Method::GET, "/metrics", &board, &metrics, 0);
        metrics.render(None, 0)
    };
    let series = "revenium_agent_paused{profile=\"default\",reason=\"key\",route=\"all\"}";
    let text = scrape();
    assert!(text.contains(&format!("{series} 1\n")), "{text}");
    assert!(
        text.contains("revenium_agent_pace_requests_per_second{account=\"api.revenium.ai\"} 20\n"),
        "{text}"
    );
    assert!(text.contains("revenium_agent_requests_in_flight{account=\"api.revenium.ai\"} 2\n"), "{text}");
    *paused.lock().expect("whole") = false;
    assert!(scrape().contains(&format!("{series} 0\n")));
}

#[test]
fn a_log_that_does_not_move_shows_in_health_and_metrics() {
    let (board, metrics) = (board(), metrics());
    let stalled = || {
        route::answer(Door::Admin, &Method::GET, "/metrics", &board, &metrics, 0);
        let text = metrics.render(None, 0);
        (text.contains("revenium_agent_log_stalled 1\n"), get(Door::Admin, "/healthz", &board))
    };
    let began = Instant::now().checked_sub(Duration::from_secs(31)).expect("the machine is up for longer");
    let mark = board.pulse().begin_at(began);
    assert_eq!(stalled(), (true, 503));
    drop(mark);
    assert_eq!(stalled(), (false, 200));
}
