//! A process that forks while it emits: the child is somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use revenium_emitter::Emitter;

use crate::agent::{Agent, Say, event, id_of, until};

const LONG: Duration = Duration::from_secs(60);
const CHILDREN: u64 = 20;
const OF_CHILD: u64 = 25;
const FIRST_OF_CHILD: u64 = 1_000_000;

/// Forks; the child does `what`, and ends with whether that returned true.
fn fork(what: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: the child has only this thread. What it calls takes no lock but its own life's and the
    // allocator's, which the C library hands over free, and it ends without running anything of its parent's.
    #[expect(unsafe_code, reason = "forking cannot be tested without")]
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0, "forks");
        if pid == 0 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)).unwrap_or(false);
            libc::_exit(i32::from(!done));
        }
        pid
    }
}

fn wait(pid: libc::pid_t) {
    let mut status = 0;
    // SAFETY: it writes one integer, and the child is ours.
    #[expect(unsafe_code, reason = "forking cannot be tested without")]
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((waited, status), (pid, 0), "the child did what it should");
}

fn child(emitter: &Emitter, first: u64) -> bool {
    let inherited = emitter.stats();
    for id in first..first + OF_CHILD - 1 {
        emitter.emit(event(id));
    }
    let durable = emitter.emit_durable(event(first + OF_CHILD - 1), LONG);
    inherited.emitted == 0 && durable.is_ok() && emitter.flush(LONG).is_complete()
}

#[test]
fn children_forked_under_load_send_their_own_events_and_none_of_their_parents() {
    let agent = Agent::new(|_| Say::Durable);
    let emitter = agent.builder().memory_bytes_max(64 << 20).build();
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            let (emitter, stop) = (emitter.clone(), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) && count < 20_000 {
                    emitter.emit(event(thread * 100_000 + count));
                    count += 1;
                }
                count
            })
        })
        .collect();
    until("load", || emitter.stats().durable, |durable| *durable > 100);
    for round in 0..CHILDREN {
        wait(fork(|| child(&emitter, FIRST_OF_CHILD + round * OF_CHILD)));
    }
    stop.store(true, Ordering::Relaxed);
    let of_parent: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(emitter.flush(LONG).is_complete());
    agent.wait_stored(usize::try_from(of_parent + CHILDREN * OF_CHILD).unwrap());
    assert_eq!(agent.producers() as u64, 1 + CHILDREN);
    assert_eq!(agent.repeated(), 0, "nobody sent what is another's");
    assert_eq!(emitter.stats().durable, of_parent, "the parent never noticed");
    let ids = agent.ids();
    let of_children: Vec<u64> = ids.into_iter().filter(|id| *id >= FIRST_OF_CHILD).collect();
    assert_eq!(of_children, (FIRST_OF_CHILD..FIRST_OF_CHILD + CHILDREN * OF_CHILD).collect::<Vec<_>>());
}

#[test]
fn what_is_queued_in_the_parent_is_not_sent_or_spooled_by_its_child() {
    let mut agent = Agent::absent(|_| Say::Durable);
    std::fs::write(agent.path("file"), "").unwrap();
    // Nowhere to go: the parent's events stay in its memory.
    let emitter = agent.builder().spool(agent.path("file/spool")).build();
    for id in 0..10 {
        emitter.emit(event(id));
    }
    agent.start();
    agent.say(|seen| if id_of(seen.line) < 10 { Say::Nothing } else { Say::Durable });
    wait(fork(|| {
        let grandchild = fork(|| child(&emitter, FIRST_OF_CHILD));
        wait(grandchild);
        let is_mine = child(&emitter, FIRST_OF_CHILD + OF_CHILD);
        // Dropping it closes the child's own part, and no other.
        drop(emitter.clone());
        is_mine
    }));
    agent.say(|_| Say::Durable);
    agent.cut_off();
    agent.wait_stored(usize::try_from(10 + 2 * OF_CHILD).unwrap());
    assert_eq!(agent.producers(), 3);
}
