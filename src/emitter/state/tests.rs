//! The order of things on one connection, step by step.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use revenium_event::line::Code;

use super::{Bounds, Pumped, State};
use crate::event::Event;

const BOUNDS: Bounds = Bounds { bytes_max: 1 << 20, events_max: 1000 };

/// A state with a connection whose socket is as small as can be, and the other end.
fn connected() -> (State, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 1).unwrap();
    far.set_nonblocking(true).unwrap();
    let mut state = State::new();
    state.connected(Arc::new(near), b"hello\n".to_vec());
    assert_eq!(state.pump(), Pumped::More);
    assert_eq!(state.pump(), Pumped::All);
    (state, far)
}

fn admit(state: &mut State, length: usize) {
    let event = Event::completion("m").field("text", "x".repeat(length));
    state.admit(event.finish(None), None, &BOUNDS).unwrap();
}

fn read(far: &mut UnixStream, count: usize, into: &mut Vec<u8>) {
    let mut room = vec![0; count];
    if let Ok(count) = far.read(&mut room) {
        into.extend_from_slice(&room[..count]);
    }
}

#[test]
fn what_was_sent_half_is_finished_before_anything_else_is_sent() {
    let mut came = Vec::new();
    let (mut state, mut far) = connected();
    for length in [20_000, 10, 3_000, 10, 30_000, 500] {
        admit(&mut state, length);
        state.send_newest();
        // Room for a small line, and not for the rest.
        read(&mut far, 6_000, &mut came);
    }
    loop {
        match state.pump() {
            Pumped::All => break,
            Pumped::More => {}
            Pumped::Full => read(&mut far, 4_000, &mut came),
            Pumped::Broken => panic!("nobody broke it"),
        }
    }
    while came.len() < 60_000 {
        let before = came.len();
        read(&mut far, 4_000, &mut came);
        if came.len() == before {
            break;
        }
    }
    let lines: Vec<&[u8]> = came.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines[0], b"hello\n");
    let kept: Vec<&[u8]> = state.kept.iter().map(super::Line::bytes).collect();
    assert!(lines[1..] == kept[..], "every line whole, in its order");
}

#[test]
fn what_was_put_off_is_sent_again_once_nothing_else_is_outstanding() {
    let (mut state, _far) = connected();
    for _ in 0..3 {
        admit(&mut state, 1);
        assert!(state.send_newest());
    }
    assert!(state.refused(2, Code::Full).is_none());
    admit(&mut state, 1);
    assert!(!state.send_newest(), "it would overtake what was put off");
    assert_eq!((state.may_resend(), state.outstanding()), (false, 2));
    let mut settled = Vec::new();
    state.durable(1, &mut settled);
    assert!(!state.may_resend());
    state.durable(3, &mut settled);
    assert_eq!(settled.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 3], "2 is not durable");
    assert!(state.may_resend());
    state.resend();
    assert_eq!((state.pump(), state.outstanding()), (Pumped::More, 2));
    state.durable(4, &mut settled);
    assert_eq!((settled.len(), state.in_memory(), state.memory_bytes()), (4, 0, 0));
}

#[test]
fn what_is_being_spooled_is_in_memory_until_it_is_in_the_file() {
    let (mut state, _far) = connected();
    for _ in 0..3 {
        admit(&mut state, 1);
        assert!(state.send_newest());
    }
    let parked = state.park(u64::MAX);
    admit(&mut state, 1);
    assert!(state.send_newest(), "all before it were sent");
    assert_eq!((state.in_memory(), state.in_memory_upto(3)), (4, 3));
    // It could not be written.
    state.unpark(parked);
    assert_eq!(state.kept.iter().map(|line| line.n).collect::<Vec<_>>(), [1, 2, 3, 4]);
    let parked = state.park(u64::MAX);
    state.spooled(&parked);
    let stats = state.stats();
    assert_eq!((stats.spooled, stats.in_memory, stats.in_memory_bytes), (4, 0, 0));
    // Their answers come late and mean nothing any more.
    let mut settled = Vec::new();
    state.durable(4, &mut settled);
    assert!(settled.is_empty() && state.refused(4, Code::Invalid).is_none());
    admit(&mut state, 1);
    assert!(state.send_newest());
}
