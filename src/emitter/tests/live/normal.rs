//! An agent that is there and answers, or loses its connections.

use std::time::Duration;

use revenium_emitter::{DurableError, Emitted};

#[cfg(feature = "async")]
use crate::agent::id_of;
use crate::agent::{Agent, Say, event, until};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn an_event_is_stored_and_the_counts_balance() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().build();
    assert_eq!(emitter.stats().emitted, 0);
    for id in 0..100 {
        assert!(matches!(emitter.emit(event(id)), Emitted::Sent | Emitted::Queued));
    }
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_all(100);
    let stats = emitter.stats();
    assert_eq!((stats.emitted, stats.durable, stats.sent, stats.in_memory), (100, 100, 100, 0));
    assert_eq!((stats.spooled, stats.dropped(), stats.refused(), stats.in_memory_bytes), (0, 0, 0, 0));
    assert_eq!(emitter.last_error(), None);
}

#[test]
fn once_connected_the_kernel_has_an_event_when_emit_returns() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().build();
    emitter.emit(event(0));
    assert!(emitter.flush(LONG).is_complete());
    for id in 1..50 {
        assert_eq!(emitter.emit(event(id)), Emitted::Sent);
    }
    agent.wait_all(50);
}

#[test]
fn what_was_not_answered_is_sent_again_under_its_numbers_after_the_connection_ends() {
    // Every 17th event is stored, and the connection cut before the answer.
    let agent = Agent::new(|seen| if seen.count % 17 == 16 { Say::HangUp } else { Say::Durable });
    let emitter = agent.builder().build();
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let emitter = emitter.clone();
            std::thread::spawn(move || {
                for id in 0..500 {
                    emitter.emit(event(thread * 500 + id));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    agent.wait_all(2000);
    assert_eq!(agent.producers(), 1);
    assert!(agent.repeated() > 0, "something was sent again");
    until("answered", || emitter.stats().in_memory, |left| *left == 0);
}

#[test]
fn durable_is_said_once_the_agent_has_said_it() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().build();
    emitter.emit_durable(event(0), LONG).unwrap();
    assert_eq!(agent.ids(), [0]);
}

#[test]
fn an_event_that_is_not_answered_in_time_is_still_delivered() {
    let agent = Agent::new(|_| Say::Nothing);
    let emitter = agent.builder().build();
    let deadline = Duration::from_millis(50);
    let error = emitter.emit_durable(event(0), deadline).unwrap_err();
    assert_eq!(error, DurableError::TimedOut(deadline));
    assert!(error.may_be_durable());
    agent.say(|_| Say::Durable);
    agent.cut_off();
    agent.wait_all(1);
}

#[cfg(feature = "async")]
#[test]
fn a_task_is_woken_when_its_event_is_durable_or_refused() {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    fn wait<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        loop {
            if let Poll::Ready(out) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return out;
            }
            std::thread::park();
        }
    }
    let agent = Agent::new(|seen| if id_of(seen.line) == 2 { Say::Refuse("invalid") } else { Say::Durable });
    let emitter = agent.builder().build();
    assert_eq!(wait(emitter.emit_durable_async(event(0))), Ok(()));
    // Dropped before it is ready: the event goes on.
    drop(emitter.emit_durable_async(event(1)));
    let refused = wait(emitter.emit_durable_async(event(2))).unwrap_err();
    assert!(matches!(refused, DurableError::Refused(_)), "{refused}");
    agent.wait_all(2);
}

#[test]
fn buffered_events_arrive_in_order_without_a_send_of_their_own() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().buffered(true).build();
    for id in 0..1000 {
        assert_eq!(emitter.emit(event(id)), Emitted::Queued);
    }
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_all(1000);
    // After it fell asleep the next one wakes it.
    std::thread::sleep(Duration::from_millis(400));
    emitter.emit(event(1000));
    agent.wait_all(1001);
}

#[test]
fn the_profile_is_said_once_for_all_events_and_one_that_cannot_be_by_each() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().profile("team-a").build();
    emitter.emit_durable(event(0), LONG).unwrap();
    assert!(agent.hellos()[0].contains("\"profile\":\"team-a\""), "{:?}", agent.hellos());
    let emitter = agent.builder().profile("no such name").build();
    emitter.emit_durable(event(1), LONG).unwrap();
    assert!(!agent.hellos()[1].contains("profile"), "{:?}", agent.hellos());
    let stored = agent.stored();
    assert_eq!(stored.iter().filter(|line| line.contains("\"profile\":\"no such name\"")).count(), 1);
}

#[test]
fn dropping_the_last_handle_hands_over_what_is_left() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().buffered(true).build();
    let clone = emitter.clone();
    for id in 0..500 {
        emitter.emit(event(id));
    }
    drop(emitter);
    clone.emit(event(500));
    drop(clone);
    agent.wait_all(501);
}

/// Runs itself again in another environment.
#[test]
fn metering_that_is_disabled_counts_and_does_nothing() {
    if std::env::var_os("REVENIUM_METERING_DISABLED").is_none() {
        let test = "normal::metering_that_is_disabled_counts_and_does_nothing";
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let output = again.args(["--exact", test]).env("REVENIUM_METERING_DISABLED", "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().on_loss(|_| panic!("it is no loss")).build();
    let dropped = revenium_emitter::LossReason::Disabled;
    assert_eq!(emitter.emit(event(0)), Emitted::Dropped(dropped));
    assert_eq!(emitter.emit_durable(event(1), LONG), Err(DurableError::Dropped(dropped)));
    assert!(emitter.flush(LONG).is_complete());
    assert_eq!((emitter.stats().emitted, emitter.stats().lost(dropped)), (2, 2));
    drop(emitter);
    assert_eq!(agent.hellos(), Vec::<String>::new(), "nobody connected");
}

/// Processor time of the emitter's threads so far, in clock ticks (a hundredth of a second each).
fn ticks_used() -> u64 {
    let mut used = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
        let Some((name, rest)) = stat.split_once(") ") else { continue };
        if name.ends_with("(revenium-emitte") {
            let fields: Vec<&str> = rest.split(' ').collect();
            used += fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        }
    }
    used
}

#[test]
fn a_thread_that_has_nothing_to_do_does_nothing() {
    let served = Agent::new(|_| Say::Durable);
    // The machine's spool is not ours to hand in, a denial waits, and away is away.
    let machines = served.builder().spool("/var/spool/revenium").build();
    let users = served.builder().build();
    machines.emit_durable(event(0), LONG).unwrap();
    users.emit_durable(event(1), LONG).unwrap();
    let denying = Agent::new(|_| Say::TurnAway("denied"));
    let denied = denying.builder().build();
    denied.emit(event(0));
    let absent = Agent::absent(|_| Say::Durable);
    let away = absent.builder().build();
    away.emit(event(0));
    assert!(denied.flush(LONG).is_complete() && away.flush(LONG).is_complete());
    let full = Agent::new(|_| Say::Refuse("full"));
    let held = full.builder().build();
    held.emit(event(0));
    // Far more than the moment a thread needs, and far less than one that never waits takes.
    let before = ticks_used();
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks_used() - before;
    assert!(used < 50, "{used} hundredths of a second");
}
