//! Keys, pauses and waits.

use super::*;
use crate::queue::Queue as _;

/// Answers as Revenium does to a key: 401 unless it is `right`.
fn keyed() -> Script {
    Script::new(|asked| match asked.key.is("right") {
        true => Said::created(),
        false => Said::status(401).body("no such key"),
    })
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_for_a_while_loses_nothing_and_is_tried_seldom() {
    let mut stage = Stage::new(keyed());
    stage.settings.pacing = Pacing::Adaptive;
    let keys = &stage.keys[0];
    keys.send_replace(key("wrong"));
    let (keys, queue, upstream) = (keys.clone(), stage.queue.clone(), stage.upstream.clone());
    queue.add("p", 0, 100);
    queue.add("p", 4, 100);
    let mend = async move {
        for _ in 0..360 {
            sleep(seconds(10)).await;
            queue.add("p", 0, 1);
        }
        let attempts = upstream.attempts();
        println!(
            "{} attempts with a wrong key in an hour: {:?}",
            attempts.len(),
            attempts.iter().map(|a| a.at.as_secs()).collect::<Vec<_>>()
        );
        assert!((6..=20).contains(&attempts.len()), "{} attempts in an hour", attempts.len());
        keys.send_replace(key("right"));
        sleep(seconds(60)).await;
        assert_eq!(queue.waiting().len(), 0);
    };
    stage.drain_while(3700, mend).await;
    assert_eq!((stage.queue.delivered(), stage.upstream.billed(), stage.queue.dead()), (560, 560, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_lone_record_with_a_wrong_key_goes_as_soon_as_the_key_is_right() {
    let mut stage = Stage::new(keyed());
    stage.keys[0].send_replace(key("wrong"));
    let (keys, queue, upstream) = (stage.keys[0].clone(), stage.queue.clone(), stage.upstream.clone());
    queue.add("p", 0, 1);
    let mend = async move {
        sleep(seconds(3600)).await;
        assert!(upstream.attempts().len() < 16, "{:?}", upstream.attempts());
        keys.send_replace(key("right"));
        sleep(seconds(1)).await;
        assert_eq!(queue.delivered(), 1);
    };
    stage.drain_while(3700, mend).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nothing_passed_with_is_tried_with_few_however_fast_the_pace() {
    let mut stage = Stage::new(keyed());
    stage.keys[0].send_replace(key("wrong"));
    let (keys, queue, upstream) = (stage.keys[0].clone(), stage.queue.clone(), stage.upstream.clone());
    queue.add("p", 0, 500);
    let mend = async move {
        sleep(seconds(20)).await;
        assert_eq!(upstream.attempts().len(), 3);
        keys.send_replace(key("wrong-too"));
        sleep(seconds(20)).await;
        assert!(upstream.attempts().len() <= 6, "{}", upstream.attempts().len());
    };
    stage.drain_while(50, mend).await;
}

#[tokio::test(start_paused = true)]
async fn refusals_of_a_wrong_key_do_not_slow_the_right_one() {
    let mut stage = Stage::new(keyed());
    stage.keys[0].send_replace(key("wrong"));
    let (keys, queue) = (stage.keys[0].clone(), stage.queue.clone());
    queue.add("p", 0, 100);
    let mend = async move {
        sleep(seconds(20)).await;
        keys.send_replace(key("right"));
        sleep(seconds(1)).await;
        assert_eq!(queue.delivered(), 100);
    };
    stage.drain_while(30, mend).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_told_with_its_reason_and_survives_a_restart() {
    let mut stage = Stage::new(keyed());
    stage.keys[0].send_replace(key("wrong"));
    stage.queue.add("p", 0, 50);
    let drain = stage.drain();
    let status = drain.status();
    drain.run(sleep(seconds(20))).await.expect("no panic");
    let before = status.snapshot()[0].pauses.clone();
    assert_eq!(before.len(), 1);
    let pause = &before[0];
    let told = (&*pause.profile, pause.route, pause.why, pause.status, &*pause.words);
    assert_eq!(told, ("p", None, PauseWhy::Blocked, 401, "the API key is not accepted; no such key"));
    let trouble = status.snapshot()[0].trouble.clone().expect("told");
    assert_eq!((trouble.outcome, trouble.status), ("blocked", 401));

    let attempts = stage.upstream.attempts().len();
    stage.drain_for(5).await;
    assert_eq!(stage.upstream.attempts().len(), attempts, "a restart is no reason to try again");
    stage.keys[0].send_replace(key("right"));
    stage.drain_for(5).await;
    assert_eq!(stage.queue.delivered(), 50, "but one with another key is");
    assert_eq!(stage.queue.state("drain.pauses.p"), None);
}

#[tokio::test(start_paused = true)]
async fn a_missing_key_is_said_and_nothing_is_sent_until_it_comes() {
    let mut stage = Stage::new(keyed());
    stage.keys[0].send_replace(None);
    stage.queue.add("p", 0, 3);
    let drain = stage.drain();
    let (status, keys) = (drain.status(), stage.keys[0].clone());
    let (queue, upstream) = (stage.queue.clone(), stage.upstream.clone());
    let come = async move {
        sleep(seconds(600)).await;
        assert_eq!(status.snapshot()[0].pauses[0].why, PauseWhy::NoKey);
        assert_eq!((upstream.attempts(), queue.claimed()), (vec![], 0));
        keys.send_replace(key("right"));
        sleep(seconds(1)).await;
        assert_eq!((queue.delivered(), status.snapshot()[0].pauses.len()), (3, 0));
        keys.send_replace(None);
        queue.add("p", 0, 1);
        sleep(seconds(60)).await;
        assert_eq!((queue.delivered(), status.snapshot()[0].pauses.len()), (3, 1));
    };
    let (ended, ()) = tokio::join!(drain.run(sleep(seconds(700))), come);
    ended.expect("no panic");
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_the_former_key_says_nothing_about_the_new_one() {
    let mut stage = Stage::new(Script::new(|asked| match asked.key.is("right") {
        true => Said::created(),
        false => Said::status(401).after(seconds(5)),
    }));
    stage.keys[0].send_replace(key("wrong"));
    let (keys, queue) = (stage.keys[0].clone(), stage.queue.clone());
    queue.add("p", 0, 20);
    let rotate = async move {
        sleep(seconds(1)).await;
        keys.send_replace(key("right"));
        sleep(seconds(6)).await;
        assert_eq!(queue.delivered(), 20);
    };
    stage.drain_while(10, rotate).await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_429_is_respected_by_the_whole_account_and_across_restarts() {
    let over = seconds(3600);
    let mut stage = Stage::new(Script::new(move |asked| match asked.at < over {
        true => Said::status(429)
            .header("retry-after", "3600")
            .header("x-ratelimit-limited-reason", "error-pattern"),
        false => Said::created(),
    }));
    stage.profile("q", "a", key("right"));
    stage.settings.pacing = Pacing::Fixed(5.0);
    stage.settings.in_flight_max = 1;
    stage.queue.add("p", 0, 50);
    stage.queue.add("q", 0, 50);
    stage.drain_for(1000).await;
    stage.drain_for(1000).await;
    let drain = stage.drain();
    let status = drain.status();
    let look = async {
        sleep(seconds(1)).await;
        let (until_ms, reason) = status.snapshot()[0].throttled.clone().expect("throttled");
        assert!(until_ms >= START_MS + 3_600_000 && reason == "error-pattern");
        assert_eq!(stage.queue.claimed(), 0);
    };
    let (ended, ()) = tokio::join!(drain.run(sleep(seconds(1000))), look);
    ended.expect("no panic");
    stage.drain_for(1000).await;
    let attempts = stage.upstream.attempts();
    assert_eq!(attempts.iter().filter(|attempt| attempt.at < over).count(), 1);
    assert_eq!(stage.queue.delivered(), 100);
    assert!(attempts[1].at >= over && attempts[1].at < over + seconds(361), "{:?}", attempts[1].at);
}

#[tokio::test(start_paused = true)]
async fn one_route_that_is_blocked_leaves_the_others_alone() {
    let mut stage = Stage::new(Script::new(|asked| match asked.record.lane.route {
        4 => Said::status(404),
        _ => Said::created(),
    }));
    stage.queue.add("p", 4, 20);
    stage.queue.add("p", 0, 20);
    stage.queue.add("p", 5, 20);
    let drain = stage.drain();
    let status = drain.status();
    drain.run(sleep(seconds(30))).await.expect("no panic");
    assert_eq!(stage.queue.delivered(), 40);
    let pauses = &status.snapshot()[0].pauses;
    assert_eq!((pauses.len(), pauses[0].route, pauses[0].status), (1, Some(4), 404));
}

#[tokio::test(start_paused = true)]
async fn a_run_of_refusals_slows_right_down() {
    let mut stage = Stage::new(Script::new(|_| Said::status(400)));
    stage.settings.in_flight_max = 2;
    stage.queue.add("p", 0, 1000);
    let drain = stage.drain();
    let status = drain.status();
    drain.run(sleep(seconds(3600))).await.expect("no panic");
    let attempts = stage.upstream.attempts().len();
    assert!((60..80).contains(&attempts), "{attempts} refusals in an hour");
    assert!(status.snapshot()[0].is_slowed_by_refusals);
    assert_eq!(stage.queue.dead().len(), attempts);
}

#[tokio::test(start_paused = true)]
async fn a_loop_is_told_in_words() {
    let mut stage = Stage::new(Script::new(|_| Said::status(508)));
    stage.queue.add("p", 0, 3);
    let drain = stage.drain();
    let status = drain.status();
    drain.run(sleep(seconds(30))).await.expect("no panic");
    let words = status.snapshot()[0].pauses[0].words.clone();
    assert_eq!(words, "a loop: the upstream is one of this agent's own listeners");
}
