//! A socket that takes a few bytes at a time: lines stay whole and in order, whoever sends them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use revenium_emitter::{Emitted, Event};

use crate::agent::{Agent, Say, id_of, until};

/// A line whose bytes say what they must be.
fn event(id: u64, length: usize) -> Event {
    Event::completion("m")
        .field("id", id)
        .field("text", text(id, length))
        .response_time(std::time::UNIX_EPOCH)
}

fn text(id: u64, length: usize) -> String {
    (0..length).map(|i| char::from(b'a' + u8::try_from((id + i as u64) % 26).unwrap())).collect()
}

/// Small, usual, over what goes in one send, over what the thread sends at once.
fn length(id: u64) -> usize {
    let dice = (id + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let length = match dice % 16 {
        0 => 33_000 + dice % 200_000,
        1..=4 => 3_000 + dice % 20_000,
        _ => dice % 700,
    };
    usize::try_from(length).unwrap()
}

#[test]
fn lines_arrive_whole_and_in_order_through_a_socket_that_takes_them_in_pieces() {
    const EVENTS: u64 = 400;
    for buffer in [1, 5_000, 40_000] {
        let sent = Arc::new(AtomicU64::new(0));
        let agent = Agent::new(|seen| {
            let id = id_of(seen.line);
            assert!(seen.line.contains(&format!("\"text\":\"{}\"", text(id, length(id)))), "{id} is damaged");
            // Now and then it is slow, and now and then it goes.
            if seen.count % 50 == 49 {
                std::thread::sleep(Duration::from_millis(5));
            }
            if seen.count % 150 == 149 { Say::HangUp } else { Say::Durable }
        });
        let emitter = agent.builder().send_buffer_bytes(buffer).memory_bytes_max(256 << 20).build();
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (emitter, sent) = (emitter.clone(), Arc::clone(&sent));
                std::thread::spawn(move || {
                    for id in (0..EVENTS).filter(|id| id % 4 == thread) {
                        match emitter.emit(event(id, length(id))) {
                            Emitted::Sent => _ = sent.fetch_add(1, Ordering::Relaxed),
                            Emitted::Queued => {}
                            other => panic!("{other:?}"),
                        }
                        if id % 40 < 4 {
                            std::thread::sleep(Duration::from_millis(3));
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        agent.wait_all(EVENTS);
        until("answered", || emitter.stats().in_memory, |left| *left == 0);
        assert_eq!(emitter.stats().spooled, 0, "it all went over the socket");
    }
}
