//! No agent, or one that does not answer: the spool, and what happens when there is one again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use revenium_emitter::{DurableError, Emitted, Emitter, LossReason};
use revenium_event::line::{self, Line};

use crate::agent::{Agent, Say, event, spool_files, until};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn events_are_spooled_while_no_agent_is_there_and_handed_in_when_one_is() {
    let mut agent = Agent::absent(|_| Say::Durable);
    let emitter = agent.builder().profile("team-a").build();
    for id in 0..50 {
        assert_eq!(emitter.emit(event(id)), Emitted::Queued);
    }
    let report = emitter.flush(LONG);
    assert!(report.is_complete() && report.spooled == 50, "{report:?}");
    let error = emitter.last_error().expect("no agent");
    assert!(error.to_string().starts_with("no agent at "), "{error}");
    let files = spool_files(&agent.spool());
    assert!(!files.is_empty());
    assert_eq!(fs::metadata(agent.spool()).unwrap().permissions().mode() & 0o777, 0o700);
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(file).unwrap();
        let Ok(Line::Hello(hello)) = line::parse(text.lines().next().unwrap().as_bytes()) else {
            panic!("no hello: {text}")
        };
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(&hello.producer.unwrap().to_string()));
        assert_eq!(hello.profile.as_deref(), Some("team-a"));
    }
    agent.start();
    agent.wait_all(50);
    until("the files are gone", || spool_files(&agent.spool()), Vec::is_empty);
    until("counted", || emitter.stats().handed_in, |count| *count == 50);
    emitter.emit_durable(event(50), LONG).unwrap();
    agent.wait_all(51);
    assert_eq!((agent.producers(), agent.repeated()), (1, 0));
    assert_eq!(emitter.last_error(), None);
}

#[test]
fn an_agent_that_does_not_answer_is_as_good_as_away_and_nothing_is_doubled() {
    let agent = Agent::new(|_| Say::Nothing);
    let emitter = agent.builder().build();
    let began = Instant::now();
    assert_eq!(emitter.emit_durable(event(0), LONG), Err(DurableError::Spooled));
    assert!(began.elapsed() >= Duration::from_secs(1), "not at once");
    emitter.emit(event(1));
    agent.say(|_| Say::Durable);
    // Both were sent as well, and one is in a file: the numbers tell.
    until("all is stored", || agent.ids(), |ids| *ids == [0, 1]);
    until("the files are gone", || spool_files(&agent.spool()), Vec::is_empty);
    agent.wait_all(2);
    assert_eq!(agent.producers(), 1);
}

#[test]
fn a_long_outage_makes_few_files() {
    let agent = Agent::absent(|_| Say::Durable);
    let emitter = agent.builder().build();
    let began = Instant::now();
    let mut id = 0;
    while began.elapsed() < Duration::from_secs(2) {
        emitter.emit(event(id));
        id += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    // Pauses of 0.1, 0.2, 0.3 … s: seven files fit in, and two for luck.
    let files = spool_files(&agent.spool()).len();
    assert!((2..=9).contains(&files), "{files}");
    drop(emitter);
    let lines: usize = spool_files(&agent.spool())
        .iter()
        .map(|file| fs::read_to_string(file).unwrap().lines().count() - 1)
        .sum();
    assert_eq!(lines as u64, id, "all are in files after the end");
}

#[test]
fn dropping_the_last_handle_spools_what_is_left() {
    let mut agent = Agent::absent(|_| Say::Durable);
    let emitter = agent.builder().buffered(true).build();
    for id in 0..1000 {
        emitter.emit(event(id));
    }
    drop(emitter);
    agent.start();
    // The next process of this user hands them in.
    let emitter = agent.builder().build();
    emitter.emit(event(1000));
    agent.wait_all(1001);
    assert_eq!(agent.producers(), 2);
}

#[test]
fn a_spool_that_cannot_be_written_leaves_events_in_memory_and_counts_what_does_not_fit() {
    let mut agent = Agent::absent(|_| Say::Durable);
    fs::write(agent.path("file"), "").unwrap();
    let losses = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&losses);
    let emitter = agent
        .builder()
        .spool(agent.path("file/spool"))
        .memory_bytes_max(64 << 10)
        .on_loss(move |loss| told.lock().unwrap().push(loss.clone()))
        .build();
    let mut kept = 0;
    let mut dropped = 0;
    for id in 0..2000 {
        match emitter.emit(event(id)) {
            Emitted::Queued => kept += 1,
            Emitted::Dropped(LossReason::MemoryFull) => dropped += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(kept >= 64 && dropped > 0, "{kept} kept");
    let report = emitter.flush(Duration::from_millis(300));
    assert_eq!((report.in_memory, report.is_complete()), (kept, false));
    until(
        "reported",
        || losses.lock().unwrap().iter().map(|loss| loss.events).sum::<u64>(),
        |n| *n == dropped,
    );
    {
        let losses = losses.lock().unwrap();
        assert!(losses.iter().all(|loss| loss.reason == LossReason::MemoryFull));
        assert!(losses.iter().any(|loss| loss.trouble.is_some()), "and why");
    }
    let stats = emitter.stats();
    assert_eq!((stats.in_memory, stats.dropped()), (kept, dropped));
    agent.start();
    agent.wait_stored(usize::try_from(kept).unwrap());
}

#[test]
fn what_neither_agent_nor_spool_takes_by_the_end_is_reported_lost_within_the_deadline() {
    let agent = Agent::new(|_| Say::Nothing);
    fs::write(agent.path("file"), "").unwrap();
    let losses = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&losses);
    let emitter = agent
        .builder()
        .spool(agent.path("file/spool"))
        .close_within(Duration::from_millis(300))
        .on_loss(move |loss| told.lock().unwrap().push((loss.reason, loss.events)))
        .build();
    for id in 0..10 {
        emitter.emit(event(id));
    }
    drop(emitter);
    assert_eq!(*losses.lock().unwrap(), [(LossReason::Closed, 10)]);
}

#[test]
fn a_spool_that_is_full_takes_no_more() {
    let agent = Agent::absent(|_| Say::Durable);
    let emitter = agent.builder().spool_bytes_max(10_000).build();
    for id in 0..50 {
        emitter.emit(event(id));
    }
    assert!(emitter.flush(LONG).is_complete());
    for id in 50..500 {
        emitter.emit(event(id));
    }
    let report = emitter.flush(Duration::from_millis(300));
    assert!(report.in_memory > 0, "{report:?}");
    let bytes: u64 = spool_files(&agent.spool()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= 10_000, "{bytes}");
}

#[test]
fn a_user_who_is_denied_is_told_once_and_nothing_is_lost() {
    let turned_away = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&turned_away);
    let agent = Agent::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Say::TurnAway("denied")
    });
    let troubles = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&troubles);
    let emitter =
        agent.builder().on_trouble(move |trouble| told.lock().unwrap().push(trouble.to_string())).build();
    let mut emitted = 0;
    let another = || {
        emitter.emit(event(emitted));
        emitted += 1;
        turned_away.load(Ordering::Relaxed)
    };
    until("turned away, again and again", another, |times| *times >= 3);
    assert!(emitter.flush(LONG).is_complete());
    assert_eq!(*troubles.lock().unwrap(), ["not for you"]);
    assert_eq!(emitter.last_error().unwrap().to_string(), "not for you");
    assert!(!spool_files(&agent.spool()).is_empty());
    agent.say(|_| Say::Durable);
    agent.wait_all(emitted);
}

#[test]
fn a_flush_and_the_end_spool_what_is_not_answered_by_half_of_their_deadlines() {
    let agent = Agent::new(|_| Say::Nothing);
    let emitter = agent.builder().close_within(Duration::from_secs(1)).build();
    emitter.emit(event(0));
    let report = emitter.flush(Duration::from_secs(1));
    assert_eq!((report.spooled, report.in_memory), (1, 0));
    emitter.emit(event(1));
    drop(emitter);
    let files = spool_files(&agent.spool());
    let texts: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    assert_eq!((texts.len(), texts.concat().matches("\"id\":").count()), (2, 2));
}

/// Runs itself again in other environments.
#[test]
fn without_a_home_the_spool_is_beside_the_socket_and_in_one_that_cannot_be_written_nothing_is_lost_at_once() {
    const VARIABLE: &str = "REVENIUM_TEST_SPOOLED";
    if let Some(expected) = std::env::var_os(VARIABLE) {
        let emitter = Emitter::new();
        emitter.emit(event(0));
        let report = emitter.flush(Duration::from_millis(500));
        assert_eq!((report.spooled + report.in_memory, report.spooled == 1), (1, expected == "1"));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("revenium")).unwrap();
    let test = "away::without_a_home_the_spool_is_beside_the_socket_and_in_one_that_cannot_be_written_nothing_is_lost_at_once";
    for (home, spooled) in [(None, "1"), (Some("/dev/null"), "0")] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", test]).env_clear().env("XDG_RUNTIME_DIR", dir.path()).env(VARIABLE, spooled);
        // The user's own, and no other that this machine may have.
        again.env("REVENIUM_AGENT_SOCKET", dir.path().join("revenium/agent.sock"));
        let output = again.envs(home.map(|home| ("HOME", home))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{home:?}: {said}");
    }
    assert_eq!(spool_files(&dir.path().join("revenium/spool")).len(), 1);
}
