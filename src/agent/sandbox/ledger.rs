//! What the stand-in received, counted.
//!
//! Counts are always kept, in a fixed amount of memory. With [`Detail::Full`] the ledger also
//! knows every Idempotency-Key with the distinct bodies it came with (one, if the sender is
//! right) and every `transactionId` with how often it was billed, up to `records_max` of each;
//! what came beyond is counted as `detail_dropped`, so that an oracle can't mistake a full
//! ledger for a clean one.

mod snapshot;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::journal::What;
use super::rules::{ROUTES, Route};
pub(super) use snapshot::Tally;
pub use snapshot::{Counts, DISTINCT_MAX, Detail, KeySeen, LISTED_MAX, Snapshot, TransactionSeen};

/// Up to [`DISTINCT_MAX`] different hashes.
#[derive(Debug, Default)]
struct Distinct(Vec<u128>);

impl Distinct {
    fn note(&mut self, hash: u128) {
        if self.0.len() < DISTINCT_MAX && !self.0.contains(&hash) {
            self.0.push(hash);
        }
    }
}

#[derive(Debug, Default)]
struct KeyEntry {
    attempts: u32,
    bodies: Distinct,
}

#[derive(Debug, Default)]
struct TransactionEntry {
    billed: u32,
    repeated: u32,
    vanished: u32,
    refused: u32,
    keys: Distinct,
    bodies: Distinct,
}

type KeyName = (Arc<str>, Box<str>);
type TransactionName = (Arc<str>, usize, Box<str>);

#[derive(Debug, Default)]
struct Known {
    keys: HashMap<KeyName, KeyEntry>,
    transactions: HashMap<TransactionName, TransactionEntry>,
}

/// What the ledger wants to know about an attempt of a known account.
pub(super) struct Seen<'a> {
    pub(super) account: &'a Arc<str>,
    pub(super) route: &'static Route,
    pub(super) key: Option<&'a str>,
    /// The hash of the key, 0 for none.
    pub(super) key_hash: u128,
    pub(super) transaction: Option<&'a str>,
    /// The hash of path and body.
    pub(super) fingerprint: u128,
}

/// The ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) tally: Tally,
    statuses: Box<[AtomicU64]>,
    billed_by_kind: [AtomicU64; ROUTES.len()],
    known: Option<Mutex<Known>>,
    records_max: usize,
}

impl Ledger {
    pub(super) fn new(detail: Detail, records_max: usize) -> Self {
        Self {
            tally: Tally::default(),
            statuses: (0..1_000).map(|_| AtomicU64::new(0)).collect(),
            billed_by_kind: std::array::from_fn(|_| AtomicU64::new(0)),
            known: (detail == Detail::Full).then(Mutex::default),
            records_max,
        }
    }

    pub(super) fn answered(&self, status: u16) {
        if let Some(count) = self.statuses.get(usize::from(status)) {
            Tally::add(count, 1);
        }
    }

    /// Notes an attempt before anything is done about it.
    pub(super) fn attempt(&self, seen: &Seen<'_>) {
        let (Some(known), Some(key)) = (self.known(), seen.key) else { return };
        let mut known = known;
        let name = (Arc::clone(seen.account), Box::from(key));
        if let Some(entry) = self.entry(&mut known.keys, name) {
            entry.attempts += 1;
            entry.bodies.note(seen.fingerprint);
        }
    }

    /// Notes what became of a record.
    pub(super) fn outcome(&self, seen: &Seen<'_>, what: What) {
        let tally = &self.tally;
        let count = match what {
            What::Attempt => return,
            What::Billed => &tally.billed,
            What::Repeated => &tally.repeated,
            What::Vanished => &tally.vanished,
            What::Refused => &tally.refused,
        };
        Tally::add(count, 1);
        if what == What::Billed {
            Tally::add(&self.billed_by_kind[seen.route.index()], 1);
        }
        let (Some(mut known), Some(transaction)) = (self.known(), seen.transaction) else { return };
        let name = (Arc::clone(seen.account), seen.route.index(), Box::from(transaction));
        let Some(entry) = self.entry(&mut known.transactions, name) else { return };
        match what {
            What::Attempt => {}
            What::Billed => entry.billed += 1,
            What::Repeated => entry.repeated += 1,
            What::Vanished => entry.vanished += 1,
            What::Refused => entry.refused += 1,
        }
        entry.keys.note(seen.key_hash);
        entry.bodies.note(seen.fingerprint);
    }

    /// Everything the ledger itself knows; `all` lists every key and transaction.
    pub(super) fn snapshot(&self, all: bool) -> Snapshot {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut snapshot = Snapshot {
            counts: self.tally.counts(),
            statuses: (0_u16..).zip(&self.statuses).map(|(status, count)| (status, load(count))).collect(),
            billed_by_kind: ROUTES
                .iter()
                .zip(&self.billed_by_kind)
                .map(|(route, count)| (route.kind.to_owned(), load(count)))
                .collect(),
            ..Snapshot::default()
        };
        snapshot.statuses.retain(|_, count| *count > 0);
        snapshot.billed_by_kind.retain(|_, count| *count > 0);
        let Some(known) = self.known() else { return snapshot };
        let keys = || known.keys.iter().map(|(name, entry)| key_seen(name, entry));
        let transactions = || known.transactions.iter().map(|(name, entry)| transaction_seen(name, entry));
        snapshot.keys_reused = keys().filter(|key| key.bodies > 1).take(LISTED_MAX).collect();
        snapshot.billed_twice =
            transactions().filter(|transaction| transaction.billed > 1).take(LISTED_MAX).collect();
        if all {
            snapshot.keys = keys().collect();
            snapshot.transactions = transactions().collect();
        }
        snapshot
    }

    fn known(&self) -> Option<MutexGuard<'_, Known>> {
        self.known.as_ref().map(|known| known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The entry under `name`, unless it is new and there is no room.
    fn entry<'m, K: std::hash::Hash + Eq, V: Default>(
        &self,
        map: &'m mut HashMap<K, V>,
        name: K,
    ) -> Option<&'m mut V> {
        if map.len() >= self.records_max && !map.contains_key(&name) {
            Tally::add(&self.tally.detail_dropped, 1);
            return None;
        }
        Some(map.entry(name).or_default())
    }
}

fn key_seen((account, key): &KeyName, entry: &KeyEntry) -> KeySeen {
    KeySeen {
        account: account.to_string(),
        key: key.to_string(),
        attempts: entry.attempts,
        bodies: entry.bodies.0.len(),
    }
}

fn transaction_seen(
    (account, route, transaction): &TransactionName,
    entry: &TransactionEntry,
) -> TransactionSeen {
    TransactionSeen {
        account: account.to_string(),
        path: ROUTES[*route].path.to_owned(),
        transaction: transaction.to_string(),
        billed: entry.billed,
        repeated: entry.repeated,
        vanished: entry.vanished,
        refused: entry.refused,
        keys: entry.keys.0.len(),
        bodies: entry.bodies.0.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn seen<'a>(account: &'a Arc<str>, key: &'a str, transaction: &'a str, fingerprint: u128) -> Seen<'a> {
        let key_hash = key.bytes().fold(1, |hash, byte| hash * 31 + u128::from(byte));
        Seen {
            account,
            route: &ROUTES[0],
            key: Some(key),
            key_hash,
            transaction: Some(transaction),
            fingerprint,
        }
    }

    #[test]
    fn a_key_with_two_bodies_and_a_transaction_billed_twice_are_listed() {
        let ledger = Ledger::new(Detail::Full, 10);
        let me = Arc::from("me");
        for (key, transaction, body) in [("k1", "t1", 1), ("k1", "t1", 1), ("k2", "t2", 2), ("k2", "t2", 3)] {
            let seen = seen(&me, key, transaction, body);
            ledger.attempt(&seen);
            ledger.outcome(&seen, if body == 1 { What::Repeated } else { What::Billed });
        }
        let snapshot = ledger.snapshot(true);
        let reused = KeySeen { account: "me".to_owned(), key: "k2".to_owned(), attempts: 2, bodies: 2 };
        assert_eq!(snapshot.keys_reused, [reused]);
        let twice = TransactionSeen {
            account: "me".to_owned(),
            path: "/meter/v2/ai/completions".to_owned(),
            transaction: "t2".to_owned(),
            billed: 2,
            repeated: 0,
            vanished: 0,
            refused: 0,
            keys: 1,
            bodies: 2,
        };
        assert_eq!(snapshot.billed_twice, [twice]);
        assert_eq!((snapshot.keys.len(), snapshot.transactions.len()), (2, 2));
        assert_eq!((snapshot.counts.billed, snapshot.counts.repeated), (2, 2));
        assert_eq!(snapshot.billed_by_kind["completion"], 2);
    }

    #[test]
    fn a_full_ledger_says_what_it_dropped_and_goes_on_with_what_it_knows() {
        let ledger = Ledger::new(Detail::Full, 1);
        let me = Arc::from("me");
        for transaction in ["t1", "t2", "t1"] {
            ledger.outcome(&seen(&me, "k", transaction, 1), What::Billed);
        }
        let snapshot = ledger.snapshot(false);
        assert_eq!((snapshot.counts.billed, snapshot.counts.detail_dropped), (3, 1));
        assert_eq!(snapshot.billed_twice.len(), 1);
        assert!(snapshot.transactions.is_empty());
    }

    #[test]
    fn counting_alone_keeps_no_names() {
        let ledger = Ledger::new(Detail::Counts, 10);
        let me = Arc::from("me");
        ledger.attempt(&seen(&me, "k", "t", 1));
        ledger.outcome(&seen(&me, "k", "t", 1), What::Billed);
        ledger.answered(201);
        let snapshot = ledger.snapshot(true);
        assert_eq!(snapshot.counts.billed, 1);
        assert_eq!(snapshot.statuses, BTreeMap::from([(201, 1)]));
        assert!(snapshot.keys.is_empty() && snapshot.transactions.is_empty());
    }

    #[test]
    fn at_most_four_different_bodies_are_told_apart() {
        let ledger = Ledger::new(Detail::Full, 10);
        let me = Arc::from("me");
        for body in 0..9 {
            ledger.attempt(&seen(&me, "k", "t", body));
        }
        let reused = ledger.snapshot(false).keys_reused;
        assert_eq!((reused[0].attempts, reused[0].bodies), (9, DISTINCT_MAX));
    }
}
