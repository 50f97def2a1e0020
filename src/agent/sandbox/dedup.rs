//! What was seen before: the Idempotency-Key's cached answers and the transactionId's window.
//!
//! As Revenium documents it: a key is remembered for 24 h per account with the fingerprint of
//! (method, path, body); the same request gets the cached answer, another one a mismatch, and one
//! that comes while the first is still running is told so. A `transactionId` is acknowledged and
//! dropped when it was seen before; its window is not documented, hence a parameter.
//! Pure: the caller says what time it is. Memory is bounded by `entries_max`; the oldest entry
//! makes room and is counted, so that a test can see that its windows were cut short.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::clock::whole_ms;

/// How long something is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Not at all.
    Off,
    /// From when it was first seen until this long after.
    For(Duration),
    /// As long as the process lives.
    Unlimited,
}

/// Values by id, each until its window has passed.
#[derive(Debug)]
struct Recent<V> {
    window: Window,
    entries_max: usize,
    entries: HashMap<u128, (u64, V)>,
    /// First seen (ms) and id, oldest first. May name an id that was forgotten or came back later.
    order: VecDeque<(u64, u128)>,
    evicted: u64,
}

impl<V> Recent<V> {
    fn new(window: Window, entries_max: usize) -> Self {
        Self { window, entries_max, entries: HashMap::new(), order: VecDeque::new(), evicted: 0 }
    }

    fn get_mut(&mut self, now_ms: u64, id: u128) -> Option<&mut V> {
        self.expire(now_ms);
        self.entries.get_mut(&id).map(|(_, value)| value)
    }

    fn put(&mut self, now_ms: u64, id: u128, value: V) {
        if self.window == Window::Off {
            return;
        }
        while self.order.len() >= self.entries_max.max(1) {
            self.evicted += u64::from(self.drop_oldest());
        }
        self.entries.insert(id, (now_ms, value));
        self.order.push_back((now_ms, id));
    }

    fn expire(&mut self, now_ms: u64) {
        let Window::For(span) = self.window else { return };
        let span_ms = whole_ms(span);
        while self.order.front().is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= span_ms) {
            self.drop_oldest();
        }
    }

    /// Whether an entry went with it: its place in the order may have outlived it.
    fn drop_oldest(&mut self) -> bool {
        let Some((at_ms, id)) = self.order.pop_front() else { return false };
        let is_current = self.entries.get(&id).is_some_and(|(seen_ms, _)| *seen_ms == at_ms);
        is_current && self.entries.remove(&id).is_some()
    }
}

/// A remembered answer, given again byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cached {
    pub(super) status: u16,
    pub(super) body: bytes::Bytes,
}

/// What a request finds under its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Begin {
    /// Nothing: go on, then [`Idempotency::finish`] or [`Idempotency::abandon`].
    Fresh,
    /// The same request was answered.
    Replay(Cached),
    /// The same request is still running.
    InProgress,
    /// Another request used this key.
    Mismatch,
}

/// The answers cached by Idempotency-Key.
#[derive(Debug)]
pub(super) struct Idempotency(Recent<(u128, Option<Cached>)>);

impl Idempotency {
    pub(super) fn new(window: Window, entries_max: usize) -> Self {
        Self(Recent::new(window, entries_max))
    }

    /// `scope` is the hash of account and key, `fingerprint` that of method, path and body.
    pub(super) fn begin(&mut self, now_ms: u64, scope: u128, fingerprint: u128) -> Begin {
        match self.0.get_mut(now_ms, scope) {
            None => {
                self.0.put(now_ms, scope, (fingerprint, None));
                Begin::Fresh
            }
            Some((first, _)) if *first != fingerprint => Begin::Mismatch,
            Some((_, None)) => Begin::InProgress,
            Some((_, Some(cached))) => Begin::Replay(cached.clone()),
        }
    }

    /// Keeps the answer for what is left of the window, which began with the request.
    pub(super) fn finish(&mut self, scope: u128, answer: Cached) {
        if let Some((_, (_, slot))) = self.0.entries.get_mut(&scope) {
            *slot = Some(answer);
        }
    }

    /// Forgets the key: the request failed in a way that isn't an answer.
    pub(super) fn abandon(&mut self, scope: u128) {
        self.0.entries.remove(&scope);
    }

    /// How many keys were forgotten before their window had passed.
    pub(super) fn evicted(&self) -> u64 {
        self.0.evicted
    }
}

/// Whether a key has Revenium's form: 1 to 255 printable ASCII characters without spaces.
pub(super) fn is_key(key: &[u8]) -> bool {
    (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic)
}

/// The transaction ids seen.
#[derive(Debug)]
pub(super) struct Transactions(Recent<()>);

impl Transactions {
    pub(super) fn new(window: Window, entries_max: usize) -> Self {
        Self(Recent::new(window, entries_max))
    }

    /// Whether `scope` (the hash of account, route and id) is new; it is remembered from now on.
    pub(super) fn is_first(&mut self, now_ms: u64, scope: u128) -> bool {
        if self.0.get_mut(now_ms, scope).is_some() {
            return false;
        }
        self.0.put(now_ms, scope, ());
        true
    }

    /// Takes back what `is_first` remembered: the record could not be stored.
    pub(super) fn forget(&mut self, scope: u128) {
        self.0.entries.remove(&scope);
    }

    /// How many ids were forgotten before their window had passed.
    pub(super) fn evicted(&self) -> u64 {
        self.0.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600 * 1_000;
    const DAY: Window = Window::For(Duration::from_secs(24 * 3_600));

    fn answer(text: &'static str) -> Cached {
        Cached { status: 201, body: bytes::Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn a_key_replays_its_answer_until_the_window_has_passed() {
        let mut keys = Idempotency::new(DAY, 10);
        assert_eq!(keys.begin(5, 1, 100), Begin::Fresh);
        keys.finish(1, answer("a"));
        assert_eq!(keys.begin(5 + DAY_MS - 1, 1, 100), Begin::Replay(answer("a")));
        assert_eq!(keys.begin(5 + DAY_MS, 1, 100), Begin::Fresh, "24 h later the key is new");
    }

    #[test]
    fn other_bytes_under_a_key_are_a_mismatch_whether_it_runs_or_was_answered() {
        let mut keys = Idempotency::new(DAY, 10);
        assert_eq!(keys.begin(0, 1, 100), Begin::Fresh);
        assert_eq!(keys.begin(0, 1, 200), Begin::Mismatch);
        keys.finish(1, answer("a"));
        assert_eq!(keys.begin(0, 1, 200), Begin::Mismatch);
        assert_eq!(keys.begin(0, 2, 200), Begin::Fresh, "another scope knows nothing of it");
    }

    #[test]
    fn a_request_beside_a_running_one_is_told_so() {
        let mut keys = Idempotency::new(DAY, 10);
        assert_eq!(keys.begin(0, 1, 100), Begin::Fresh);
        assert_eq!(keys.begin(0, 1, 100), Begin::InProgress);
        keys.abandon(1);
        assert_eq!(keys.begin(0, 1, 100), Begin::Fresh);
    }

    #[test]
    fn an_abandoned_key_that_comes_back_keeps_its_own_window() {
        let mut keys = Idempotency::new(Window::For(Duration::from_millis(10)), 10);
        keys.begin(0, 1, 100);
        keys.abandon(1);
        keys.begin(5, 1, 100);
        assert_eq!(keys.begin(10, 1, 100), Begin::InProgress, "the first entry's end isn't the second's");
        assert_eq!(keys.begin(15, 1, 100), Begin::Fresh);
    }

    #[test]
    fn an_off_window_remembers_nothing_and_an_unlimited_one_everything() {
        let mut off = Idempotency::new(Window::Off, 10);
        assert_eq!((off.begin(0, 1, 1), off.begin(0, 1, 2)), (Begin::Fresh, Begin::Fresh));
        let mut all = Transactions::new(Window::Unlimited, 10);
        assert!(all.is_first(0, 1));
        assert!(!all.is_first(u64::MAX, 1));
    }

    #[test]
    fn a_transaction_id_is_first_again_after_its_window() {
        let mut seen = Transactions::new(Window::For(Duration::from_millis(100)), 10);
        assert!(seen.is_first(0, 7));
        assert!(!seen.is_first(99, 7), "a repeat");
        assert!(seen.is_first(100, 7), "a repeat doesn't extend the window");
    }

    #[test]
    fn the_oldest_makes_room_and_is_counted() {
        let mut seen = Transactions::new(Window::Unlimited, 2);
        for id in 1..=3 {
            assert!(seen.is_first(0, id));
        }
        assert_eq!(seen.evicted(), 1);
        assert!(seen.is_first(0, 1), "forgotten");
        assert!(!seen.is_first(0, 3));
    }

    #[test]
    fn keys_have_revenium_s_form() {
        let longest = vec![b'k'; 255];
        let too_long = vec![b'k'; 256];
        let table: [(&[u8], bool); 8] = [
            (b"a", true),
            (b"!~", true),
            (&longest, true),
            (&too_long, false),
            (b"", false),
            (b"a b", false),
            (b"tab\t", false),
            ("\u{e9}".as_bytes(), false),
        ];
        for (key, is_good) in table {
            assert_eq!(is_key(key), is_good, "{key:?}");
        }
    }
}
