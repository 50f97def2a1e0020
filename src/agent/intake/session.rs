//! The rules of one conversation: what each line means after the ones before it.
//!
//! A hello comes first or not at all. It needs no answer, unless it cannot be honoured: then it
//! gets a refusal and nothing after it is read, since what follows would be numbered or billed
//! otherwise than its sender meant. With a producer in it every event has its number, without
//! one none has. Blank lines mean nothing and get no answer. A key that is at hand is asked for if it is of
//! use; a line that hands one over is for the keyring, or refused, and nothing of it is kept or told elsewhere.
//! Pure, apart from that, and what it counts and logs.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::iter;

use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::line::{self, Answer, Code, Hello, KeyLine, Line};
use revenium_event::{Identity, Minted, Producer, Refusal, RefusalCode};
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::batch::{Batch, Said};
use super::door::{Admission, Door, Turned};
use super::observer::Observer;
use super::seat::Seat;

/// Bytes at the start of an overlong line in which its number is looked for.
const NUMBER_BYTES_MAX: usize = 64;

/// What a connection has said of itself so far.
#[derive(Debug)]
pub(super) struct Session {
    producer: Option<Producer>,
    profile: Option<String>,
    has_begun: bool,
    is_patient: bool,
    mint: Mint,
}

/// What a session needs from around it to judge a line.
pub(super) struct Desk<'a> {
    pub(super) door: &'a Door,
    pub(super) seat: &'a Seat,
    pub(super) observer: &'a dyn Observer,
    pub(super) now: Instant,
    /// Wall clock, milliseconds since 1970.
    pub(super) now_ms: u64,
}

/// Whether to read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(super) enum Flow {
    /// Take the next line.
    On,
    /// Answer, and close.
    End,
}

impl Session {
    /// The start of a conversation.
    pub(super) fn new() -> Self {
        Self { producer: None, profile: None, has_begun: false, is_patient: false, mint: Mint::new() }
    }

    /// Whether its sender does not wait for answers.
    pub(super) fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// Takes a complete line into `batches`.
    pub(super) fn line(&mut self, line: &[u8], desk: &Desk<'_>, batches: &mut VecDeque<Batch>) -> Flow {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Flow::On;
        }
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        match line::parse(line) {
            Ok(Line::Event { n, event }) => self.event(n, &event, desk, batches),
            Ok(Line::Hello(hello)) if is_first => self.hello(hello, desk, batches),
            Ok(Line::Key(key)) => self.key(&key, desk, batches),
            Ok(Line::Hello(_)) => {
                let refusal = invalid("hello", "hello must be the first line of its connection");
                end(&refusal, desk, batches)
            }
            Err(refusal) if is_about_hello(line, &refusal) => end(&refusal, desk, batches),
            Err(refusal) if refusal.field.as_deref() == Some("key") => {
                refuse_key(Code::Invalid, "key", &refusal.message, batches)
            }
            Err(refusal) => self.refuse(None, line, refusal, desk, batches),
        }
    }

    /// Takes note of a line that was too long to keep; `start` is how it begins.
    pub(super) fn too_long(&mut self, start: &[u8], desk: &Desk<'_>, batches: &mut VecDeque<Batch>) -> Flow {
        self.has_begun = true;
        let start = &start[..start.len().min(NUMBER_BYTES_MAX)];
        let n = match line::parse(start) {
            Ok(Line::Event { n, .. }) => n,
            _ => None,
        };
        let refusal = Refusal {
            code: RefusalCode::TooLarge,
            field: None,
            message: format!("the line is too long; at most {LINE_BYTES_MAX} bytes are taken"),
        };
        if is_about_hello(start, &refusal) {
            return end(&refusal, desk, batches);
        }
        note(&refusal, desk);
        open(batches).refusal(n, &refusal, desk.observer);
        Flow::On
    }

    /// Takes note of a line that was begun and not ended in time.
    pub(super) fn unfinished(
        &self,
        waited: std::time::Duration,
        desk: &Desk<'_>,
        batches: &mut VecDeque<Batch>,
    ) {
        let message = format!("the line was not ended within {} s; nothing of it is kept", waited.as_secs());
        let refusal = Refusal { code: RefusalCode::Invalid, field: None, message };
        note(&refusal, desk);
        open(batches).refusal(None, &refusal, desk.observer);
    }

    fn hello(&mut self, hello: Hello, desk: &Desk<'_>, batches: &mut VecDeque<Batch>) -> Flow {
        let Hello { producer, profile, key_at_hand, url, is_patient, .. } = hello;
        (self.producer, self.profile, self.is_patient) = (producer, profile, is_patient);
        let wants = |profile: &str| {
            let keyring = desk.door.keyring_for(profile);
            keyring.is_some_and(|keyring| keyring.wants(profile, url.as_deref(), desk.seat.uid()))
        };
        if key_at_hand && self.profile.as_deref().is_some_and(wants) {
            open(batches).say(&Answer::WantKey);
        }
        Flow::On
    }

    fn key(&mut self, key: &KeyLine<'_>, desk: &Desk<'_>, batches: &mut VecDeque<Batch>) -> Flow {
        let Some(profile) = self.profile.as_deref() else {
            let message = "no hello has named the profile key-<fingerprint> that this key is of";
            return refuse_key(Code::Invalid, "key", message, batches);
        };
        let Some(keyring) = desk.door.keyring_for(profile) else {
            let message = "this agent has its keys from its configuration, and takes none here";
            return refuse_key(Code::Denied, "key", message, batches);
        };
        // On the disk before any later line of this connection is acknowledged. Rare, so it may block.
        match keyring.take(profile, key, desk.seat.uid()) {
            Ok(()) => Flow::On,
            Err(refused) => refuse_key(refused.code(), refused.field(), &crate::chain(&refused), batches),
        }
    }

    fn event(
        &mut self,
        n: Option<u64>,
        event: &[u8],
        desk: &Desk<'_>,
        batches: &mut VecDeque<Batch>,
    ) -> Flow {
        let identity = match (self.producer, n) {
            (Some(producer), Some(n)) => Identity::Numbered { producer, n },
            (None, None) => Identity::Body,
            (Some(_), None) => {
                let refusal = invalid("n", "every event needs its number: the hello named a producer");
                return self.refuse(n, event, refusal, desk, batches);
            }
            (None, Some(_)) => {
                let refusal = invalid("n", "a number means nothing without a hello that names the producer");
                return self.refuse(n, event, refusal, desk, batches);
            }
        };
        let minted = self.mint.next(desk.now_ms);
        match desk.door.admit(event, &identity, self.profile.as_deref(), &minted) {
            Ok(admission) => take(n, admission, desk, batches),
            Err(turned) => turn_away(n, turned, desk, batches),
        }
        Flow::On
    }

    fn refuse(
        &mut self,
        n: Option<u64>,
        event: &[u8],
        refusal: Refusal,
        desk: &Desk<'_>,
        batches: &mut VecDeque<Batch>,
    ) -> Flow {
        let minted = self.mint.next(desk.now_ms);
        let turned = desk.door.refuse(event, &Identity::Body, self.profile.as_deref(), &minted, refusal);
        turn_away(n, turned, desk, batches);
        Flow::On
    }
}

fn take(n: Option<u64>, admission: Admission, desk: &Desk<'_>, batches: &mut VecDeque<Batch>) {
    let Admission { event, parts } = admission;
    let said = n.map_or_else(|| Said::Nothing(event.record.key.clone()), Said::Number);
    let batch = open_for(&event.record, batches);
    for (event, said) in iter::once((event, said)).chain(parts.into_iter().map(|part| (part, Said::Part))) {
        for warning in &event.warnings {
            desk.observer.warned(event.seen.kind, warning);
        }
        batch.event(event.record, said, event.seen);
    }
}

fn turn_away(n: Option<u64>, turned: Turned, desk: &Desk<'_>, batches: &mut VecDeque<Batch>) {
    let Turned { refusal, letter } = turned;
    note(&refusal, desk);
    let Some(letter) = letter else {
        return open(batches).refusal(n, &refusal, desk.observer);
    };
    if !desk.seat.may_keep_refusal(desk.now) {
        desk.observer.refusal_not_kept();
        return open(batches).refusal(n, &refusal, desk.observer);
    }
    let batch = open_for(&letter, batches);
    batch.letter(*letter);
    batch.refusal(n, &refusal, desk.observer);
}

/// Refuses a key. It is no event: nothing of it is counted, logged or kept.
fn refuse_key(code: Code, field: &'static str, message: &str, batches: &mut VecDeque<Batch>) -> Flow {
    let (field, message) = (Some(field.into()), message.into());
    open(batches).say(&Answer::Refused { n: None, code, field, message });
    Flow::On
}

fn end(refusal: &Refusal, desk: &Desk<'_>, batches: &mut VecDeque<Batch>) -> Flow {
    note(refusal, desk);
    open(batches).refusal(None, refusal, desk.observer);
    Flow::End
}

/// Says in our log, now and then, that events are refused: a sender may not read its answers. The
/// answer has the words; a member's name is logged only if it is one of ours.
fn note(refusal: &Refusal, desk: &Desk<'_>) {
    if desk.seat.may_warn(desk.now) {
        let field = match &refusal.field {
            Some(Cow::Borrowed(ours)) => Some(*ours),
            _ => None,
        };
        let code = match refusal.code {
            RefusalCode::Invalid => "invalid",
            RefusalCode::TooLarge => "too_large",
            RefusalCode::Full => "full",
        };
        warn!(uid = desk.seat.uid(), code, field, "an event was refused, and its sender told why");
    }
}

/// The last batch.
fn open(batches: &mut VecDeque<Batch>) -> &mut Batch {
    if batches.is_empty() {
        batches.push_back(Batch::default());
    }
    batches.back_mut().expect("not empty: filled above")
}

/// The last batch if it takes `record`, else a new one.
fn open_for<'a>(record: &crate::queue::NewRecord, batches: &'a mut VecDeque<Batch>) -> &'a mut Batch {
    if !batches.back().is_some_and(|batch| batch.takes(record)) {
        batches.push_back(Batch::default());
    }
    open(batches)
}

/// Whether a refused line was meant as a hello.
fn is_about_hello(line: &[u8], refusal: &Refusal) -> bool {
    let member = line.strip_prefix(b"{").map(<[u8]>::trim_ascii_start);
    member.is_some_and(|member| member.starts_with(b"\"hello\""))
        || refusal.field.as_deref().is_some_and(|field| field.starts_with("hello"))
}

fn invalid(field: &'static str, message: &str) -> Refusal {
    Refusal { code: RefusalCode::Invalid, field: Some(Cow::Borrowed(field)), message: message.to_owned() }
}

/// Random bits for events that need some, cheaply: a random place on a circle of 2^128 steps for
/// each connection, and from there one odd stride per event. No two events of a connection get
/// the same bits, and two connections would have to start within each other's reach.
#[derive(Debug)]
pub(crate) struct Mint {
    place: u128,
    stride: u128,
}

impl Mint {
    /// At a random place.
    pub(crate) fn new() -> Self {
        // Two ids, since each has 122 random bits and six that are always the same.
        let (place, stride) = (Uuid::new_v4().as_u128(), Uuid::new_v4().as_u128());
        Self { place: place ^ stride.rotate_left(64), stride: stride | 1 }
    }

    /// The next bits, with this reading of the clock.
    pub(crate) fn next(&mut self, now_ms: u64) -> Minted {
        self.place = self.place.wrapping_add(self.stride);
        Minted { now_ms, random: self.place.to_be_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_bits_differ_within_and_between_connections() {
        let (mut one, mut other) = (Mint::new(), Mint::new());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(one.next(0).random));
            assert!(seen.insert(other.next(0).random));
        }
    }
}
