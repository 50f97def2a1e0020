//! Judges a run from outside of the agent: the producers' books against the stand-in's journal.
//!
//! - What was promised (acknowledged; in a spool file; in the kernel while the agent lived; answered by a gateway
//!   that was not killed) is billed, or was refused for good and is a dead letter; exactly once. What was not is
//!   billed at most once, and counted.
//! - What was billed was sent, by this producer to this account and route, member for member.
//! - An event has one Idempotency-Key, the one its producer was told or can tell, and under it one
//!   body in every attempt.
//! - Nothing is tried that isn't billed or refused for good in the end, and nothing is repeated or vanishes.
//! - Every record that was tried is delivered or a dead letter, and no other is.

use std::collections::{BTreeMap, HashMap, HashSet};

use revenium_agent::sandbox::{Entry, What};

use crate::event::{difference, marker_of};
use crate::producer::{Book, Fate, Promise};
use crate::upstream::is_refusing;

/// Complaints that are shown; the rest is only counted.
const SHOWN: usize = 20;

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) billed: u64,
    /// Records that were tried, by their keys.
    pub(crate) tried: u64,
    /// Of these, those that were refused for good at least once; and those of them never billed.
    pub(crate) refused: u64,
    pub(crate) refused_unbilled: u64,
    /// By the way that events went.
    pub(crate) ways: BTreeMap<&'static str, Way>,
    complaints: Vec<String>,
}

/// Events of one way.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) spooled: u64,
    pub(crate) ended: u64,
    pub(crate) kernel: u64,
    /// Sent, nothing promised, never sent again; and those of them that are billed all the same.
    pub(crate) in_doubt: u64,
    pub(crate) in_doubt_billed: u64,
    /// Of those in doubt, the ones that the kernel had when their sender and the agent were killed; of calls,
    /// those that a gateway had answered before it was.
    pub(crate) both_killed: u64,
    pub(crate) both_killed_billed: u64,
}

impl Verdict {
    fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    /// Fails if there is anything to complain of.
    pub(crate) fn assert_flawless(&self) {
        let shown: Vec<&str> = self.complaints.iter().take(SHOWN).map(String::as_str).collect();
        let count = self.complaints.len();
        assert!(count == 0, "{count} complaints, such as:\n{}", shown.join("\n"));
    }
}

/// Equal lines without an id, and the keys that their acknowledgements named.
pub(crate) struct Equals {
    pub(crate) marker: &'static str,
    pub(crate) keys: Vec<String>,
}

/// Compares everything with everything.
pub(crate) fn judge(journal: &[Entry<'_>], books: &[Book], equals: &Equals) -> Verdict {
    let mut verdict = Verdict::default();
    let refused = refused(journal);
    attempts(journal, &refused, &mut verdict);
    let billed = billed(journal, &mut verdict);
    let refused_transactions = refused_transactions(journal);
    for book in books {
        judge_book(book, &billed, &refused, &refused_transactions, &mut verdict);
    }
    judge_equals(equals, &billed, &refused, &mut verdict);
    let sent: HashSet<String> = books
        .iter()
        .flat_map(|book| (0..book.fates.len() as u64).map(|n| book.source.marker(n)))
        .chain([equals.marker.to_owned()])
        .collect();
    for (marker, entries) in billed.iter().filter(|(marker, _)| !sent.contains(*marker)) {
        verdict.complain(format!("{marker}: billed {} times and never sent", entries.len()));
    }
    verdict.billed = billed.values().map(|entries| entries.len() as u64).sum();
    verdict
}

/// What an attempt under a key has to have in common with all others.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Same<'a> {
    body_hash: &'a str,
    path: &'a str,
    transaction: Option<&'a str>,
}

/// Keys of which an attempt was answered, or would have been, that the record is refused for good.
fn refused<'a>(journal: &'a [Entry<'_>]) -> HashSet<&'a str> {
    let refusing = |entry: &&Entry<'_>| entry.fault.as_deref().is_some_and(is_refusing);
    journal.iter().filter(refusing).filter_map(|entry| entry.key.as_deref()).collect()
}

/// The same, by the transactions of their records: of an event that an application emitted nobody outside
/// knows the key.
fn refused_transactions<'a>(journal: &'a [Entry<'_>]) -> HashSet<&'a str> {
    let refusing = |entry: &&Entry<'_>| entry.fault.as_deref().is_some_and(is_refusing);
    journal.iter().filter(refusing).filter_map(|entry| entry.transaction.as_deref()).collect()
}

fn attempts(journal: &[Entry<'_>], refused: &HashSet<&str>, verdict: &mut Verdict) {
    let mut by_key: HashMap<&str, Same<'_>> = HashMap::new();
    let mut keys_of: HashMap<&str, &str> = HashMap::new();
    let mut billed: HashSet<&str> = HashSet::new();
    for entry in journal {
        let Some(key) = entry.key.as_deref() else {
            verdict.complain(format!("an attempt without a key: {entry:?}"));
            continue;
        };
        let transaction = entry.transaction.as_deref();
        let same = Same { body_hash: &entry.body_hash, path: &entry.path, transaction };
        let first = by_key.entry(key).or_insert_with(|| same.clone());
        if *first != same {
            verdict.complain(format!("{key}: first {first:?}, then {same:?}"));
        }
        if let Some(transaction) = transaction {
            let first = *keys_of.entry(transaction).or_insert(key);
            if first != key {
                verdict.complain(format!("{transaction}: tried under {first}, then under {key}"));
            }
        }
        match entry.what {
            What::Attempt => {}
            What::Billed if billed.insert(key) => {}
            what => verdict.complain(format!("{key}: {what:?}: {:?}", entry.body)),
        }
    }
    for key in by_key.keys().filter(|key| !billed.contains(*key) && !refused.contains(*key)) {
        verdict.complain(format!("{key}: tried and never billed"));
    }
    verdict.tried = by_key.len() as u64;
    verdict.refused = refused.len() as u64;
    verdict.refused_unbilled = refused.iter().filter(|key| !billed.contains(*key)).count() as u64;
}

type Billed<'a> = BTreeMap<String, Vec<&'a Entry<'a>>>;

/// What was billed, by the marker in its body.
fn billed<'a>(journal: &'a [Entry<'a>], verdict: &mut Verdict) -> Billed<'a> {
    let mut billed = Billed::new();
    for entry in journal.iter().filter(|entry| entry.what == What::Billed) {
        match marker_of(entry.body.as_deref().unwrap_or_default()) {
            Some(marker) => billed.entry(marker).or_default().push(entry),
            None => verdict.complain(format!("billed, and sent by nobody: {entry:?}")),
        }
    }
    billed
}

fn judge_book(
    book: &Book,
    billed: &Billed<'_>,
    refused: &HashSet<&str>,
    refused_transactions: &HashSet<&str>,
    verdict: &mut Verdict,
) {
    for (n, fate) in (0..).zip(&book.fates) {
        let marker = book.source.marker(n);
        let entries = billed.get(&marker).map(Vec::as_slice);
        count(verdict.ways.entry(book.way).or_default(), fate, entries.is_some());
        let event = book.source.event(n);
        let is_refused = fate.key.as_deref().is_some_and(|key| refused.contains(key))
            || event.transaction.as_deref().is_some_and(|id| refused_transactions.contains(id));
        let entry = match entries {
            None if is_refused || fate.promise == Promise::Nothing => continue,
            None => {
                verdict.complain(format!("{marker}: LOST: {:?} and never billed", fate.promise));
                continue;
            }
            Some([entry]) => entry,
            Some(all) => {
                verdict.complain(format!("{marker}: billed {} times", all.len()));
                continue;
            }
        };
        if let Some(what) = difference(&event.json, entry.body.as_deref().unwrap_or_default()) {
            verdict.complain(format!("{marker}: billed with another body: {what}"));
        }
        let wanted = (Some(book.source.profile), event.path);
        if (entry.account.as_deref(), &*entry.path) != wanted {
            verdict.complain(format!("{marker}: billed to {:?} at {}", entry.account, entry.path));
        }
        if event.transaction.is_some() && entry.transaction.as_deref() != event.transaction.as_deref() {
            verdict.complain(format!("{marker}: billed as transaction {:?}", entry.transaction));
        }
        if fate.key.is_some() && entry.key.as_deref() != fate.key.as_deref() {
            verdict.complain(format!("{marker}: billed under {:?}, not {:?}", entry.key, fate.key));
        }
    }
}

fn count(way: &mut Way, fate: &Fate, is_billed: bool) {
    way.sent += 1;
    match fate.promise {
        Promise::Acknowledged => way.acknowledged += 1,
        Promise::Spooled => way.spooled += 1,
        Promise::Ended => way.ended += 1,
        Promise::Kernel => way.kernel += 1,
        Promise::Nothing => {
            way.in_doubt += 1;
            way.in_doubt_billed += u64::from(is_billed);
            way.both_killed += u64::from(fate.was_sent);
            way.both_killed_billed += u64::from(fate.was_sent && is_billed);
        }
    }
}

fn judge_equals(equals: &Equals, billed: &Billed<'_>, refused: &HashSet<&str>, verdict: &mut Verdict) {
    let way = verdict.ways.entry("socket").or_default();
    way.sent += equals.keys.len() as u64;
    way.acknowledged += equals.keys.len() as u64;
    let entries = billed.get(equals.marker).map_or(&[][..], Vec::as_slice);
    let delivered: HashSet<&str> = entries.iter().filter_map(|entry| entry.key.as_deref()).collect();
    let promised: HashSet<&str> = equals.keys.iter().map(String::as_str).collect();
    let (sent, billed) = (equals.keys.len(), entries.len());
    let is_settled = promised.iter().all(|key| delivered.contains(key) || refused.contains(key));
    if promised.len() != sent || billed != delivered.len() || !delivered.is_subset(&promised) || !is_settled {
        verdict.complain(format!(
            "{sent} equal lines got {} keys and billed {billed} records under {} keys",
            promised.len(),
            delivered.len()
        ));
    }
}
