//! What Revenium does with one request: who, how fast, seen before, valid, billed.
//!
//! In two halves, so that time can pass between them: [`Meter::begin`] takes the request in
//! (authentication, pace, Idempotency-Key) and [`Meter::complete`] stores it (rules, transactionId,
//! journal, ledger). Neither waits for anything but short locks and one write to the page cache.

mod attempt;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use super::answer::{Answer, At};
use super::body::Members;
use super::clock::Clock;
use super::dedup::{Begin, Cached, Idempotency, Transactions, Window};
use super::journal::{Entry, Journal, What};
use super::ledger::{Detail, Ledger, Seen, Tally};
use super::options::{OnReceived, Options};
use super::pace::{Admission, Limited, Pace, Quota};
use super::rules::{self, FieldError, Route, Verdict};
use super::show::{Fate, Received};
use attempt::Account;
pub(super) use attempt::Attempt;

/// A request that was taken in and waits to be completed.
#[derive(Debug)]
pub(super) struct Ticket {
    account: Arc<str>,
    /// The hash of account and Idempotency-Key.
    key_scope: Option<u128>,
    quota: Option<Quota>,
}

/// How far [`Meter::begin`] came.
#[derive(Debug)]
pub(super) enum Begun {
    /// Nothing is stored; this is the answer.
    Done(Answer),
    /// To be completed.
    Running(Ticket),
}

/// The service behind the routes.
pub(super) struct Meter {
    clock: Clock,
    keys: RwLock<HashMap<String, Arc<str>>>,
    has_rules: bool,
    /// Nothing to be asked or remembered about a request: count it and answer.
    pub(super) is_lean: bool,
    is_unpaced: bool,
    pace: Mutex<Pace>,
    memory: Mutex<Memory>,
    pub(super) ledger: Ledger,
    journal: Option<Journal>,
    on_received: Option<OnReceived>,
    stored: AtomicU64,
}

struct Memory {
    keys: Idempotency,
    transactions: Transactions,
}

impl Meter {
    pub(super) fn new(options: &Options, journal: Option<Journal>) -> Self {
        let pace = Pace::new(options.requests_per_second, options.error_pattern);
        let is_lean = !options.has_rules
            && options.idempotency_window == Window::Off
            && options.transaction_window == Window::Off
            && options.detail == Detail::Counts
            && options.on_received.is_none()
            && journal.is_none();
        let meter = Self {
            clock: options.clock.clone(),
            keys: RwLock::default(),
            has_rules: options.has_rules,
            is_lean,
            is_unpaced: pace.is_free(),
            pace: Mutex::new(pace),
            memory: Mutex::new(Memory {
                keys: Idempotency::new(options.idempotency_window, options.records_max),
                transactions: Transactions::new(options.transaction_window, options.records_max),
            }),
            ledger: Ledger::new(options.detail, options.records_max),
            journal,
            on_received: options.on_received.clone(),
            stored: AtomicU64::new(0),
        };
        meter.set_keys(&options.keys);
        meter
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Accepts these API keys, each for its account, and no other.
    pub(super) fn set_keys(&self, keys: &BTreeMap<String, String>) {
        let keys = keys.iter().map(|(key, account)| (key.clone(), Arc::from(account.as_str()))).collect();
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    /// Counts a request and answers it: all there is to do when `is_lean`.
    pub(super) fn count(&self, route: &'static Route, headers: &HeaderMap, body_bytes: usize) -> Answer {
        self.tally_attempt(body_bytes);
        let at = At { ms: 0, path: route.path };
        let account = match self.account(headers) {
            Ok(account) => account,
            Err((status, why)) => {
                Tally::add(&self.ledger.tally.unauthorized, 1);
                return Answer::error(at, status, None, why);
            }
        };
        let quota = match self.admit(&account) {
            Ok(quota) => quota,
            Err(answer) => return answer(at),
        };
        let seen =
            Seen { account: &account, route, key: None, key_hash: 0, transaction: None, fingerprint: 0 };
        self.ledger.outcome(&seen, What::Billed);
        Answer::created_bare().with_quota(quota)
    }

    /// Reads what there is to know of a request.
    pub(super) fn attempt(&self, route: &'static Route, headers: &HeaderMap, body: Bytes) -> Attempt {
        self.tally_attempt(body.len());
        Attempt::new(self.clock.now_ms(), route, self.account(headers), headers, body)
    }

    /// Writes the attempt down before anything comes of it. `Err` is the answer if it can't.
    pub(super) fn note(&self, attempt: &Attempt, fault: Option<&'static str>) -> Result<(), Answer> {
        self.write(attempt, What::Attempt, fault)?;
        if let Ok(account) = &attempt.account {
            self.ledger.attempt(&attempt.seen(account));
        }
        Ok(())
    }

    /// Takes a request in: who sent it, how fast, and whether its key was seen before.
    pub(super) fn begin(&self, attempt: &Attempt) -> Begun {
        let at = attempt.at();
        let account = match &attempt.account {
            Ok(account) => account,
            Err((status, why)) => {
                Tally::add(&self.ledger.tally.unauthorized, 1);
                return self.done(attempt, Answer::error(at, *status, None, why), None, why);
            }
        };
        let quota = match self.admit(account) {
            Ok(quota) => quota,
            Err(limited) => return self.done(attempt, limited(at), None, "rate limit"),
        };
        if !attempt.is_json {
            let why = "Content-Type must be application/json";
            return self.refuse(attempt, account, quota, Answer::error(at, 415, None, why), why);
        }
        if !attempt.has_good_key {
            let why = "Idempotency-Key must be 1 to 255 printable ASCII characters without spaces";
            let answer = Answer::error(at, 400, Some("invalid_idempotency_key"), why);
            Tally::add(&self.ledger.tally.refused, 1);
            return self.refuse(attempt, account, quota, answer, why);
        }
        let key_scope = attempt.key_scope(account);
        let ticket = Ticket { account: Arc::clone(account), key_scope, quota };
        let Some(scope) = key_scope else {
            Tally::add(&self.ledger.tally.without_key, 1);
            return Begun::Running(ticket);
        };
        let found = self.memory().keys.begin(attempt.at_ms, scope, attempt.fingerprint());
        match found {
            Begin::Fresh => Begun::Running(ticket),
            Begin::Replay(cached) => {
                Tally::add(&self.ledger.tally.replayed, 1);
                self.tell(attempt, || Fate::Replayed);
                Begun::Done(Answer::json(cached.status, cached.body).with_quota(quota))
            }
            Begin::InProgress => {
                Tally::add(&self.ledger.tally.in_progress, 1);
                let why = "idempotency_key_in_progress: the first request with this key is still running";
                let answer = Answer::error(at, 409, Some("idempotency_key_in_progress"), why);
                self.done(attempt, answer.with_retry_after(1), quota, why)
            }
            Begin::Mismatch => {
                Tally::add(&self.ledger.tally.mismatched, 1);
                let why = "idempotency_key_mismatch: this key was used for another request";
                let answer = Answer::error(at, 409, Some("idempotency_key_mismatch"), why);
                self.refuse(attempt, account, quota, answer, why)
            }
        }
    }

    /// Stores a request that [`Meter::begin`] took in, or refuses it.
    pub(super) fn complete(&self, attempt: &Attempt, ticket: &Ticket) -> Answer {
        let now_ms = self.clock.now_ms();
        let at = At { ms: now_ms, path: attempt.route.path };
        let members = Members::parse(&attempt.body).filter(Members::is_sound);
        let (what, answer, fate) = match self.judge(attempt, members.as_ref()) {
            Verdict::Refused(errors) => {
                let answer = Answer::invalid(at, &errors);
                (What::Refused, answer, Fate::Refused(400, reasons(&errors)))
            }
            Verdict::Vanishes { field } => (What::Vanished, self.created(now_ms), Fate::Vanished(field)),
            Verdict::Stored if self.is_repeat(attempt, ticket, now_ms) => {
                (What::Repeated, self.created(now_ms), Fate::Repeated)
            }
            Verdict::Stored => (What::Billed, self.created(now_ms), Fate::Billed),
        };
        if let Err(answer) = self.write(attempt, what, None) {
            self.take_back(attempt, ticket, what);
            return answer;
        }
        self.ledger.outcome(&attempt.seen(&ticket.account), what);
        if let Some(members) = &members {
            let tally = &self.ledger.tally;
            Tally::add(&tally.with_duplicates, u64::from(members.has_duplicates));
            Tally::add(&tally.without_transaction_id, u64::from(attempt.transaction.is_none()));
        }
        if what == What::Refused {
            self.pace().refused(&ticket.account, now_ms);
        }
        if let Some(scope) = ticket.key_scope {
            let cached = Cached { status: answer.status, body: answer.body.clone() };
            self.memory().keys.finish(scope, cached);
        }
        self.tell_with(attempt, members.as_ref(), || fate);
        answer.with_quota(ticket.quota)
    }

    /// How many windows were cut short for want of room.
    pub(super) fn windows_cut(&self) -> u64 {
        let memory = self.memory();
        memory.keys.evicted() + memory.transactions.evicted()
    }

    /// The most requests each account made in one second.
    pub(super) fn per_second_peaks(&self) -> BTreeMap<String, u32> {
        self.pace().peaks().map(|(account, peak)| (account.to_string(), peak)).collect()
    }

    fn judge(&self, attempt: &Attempt, members: Option<&Members<'_>>) -> Verdict {
        if !self.has_rules {
            return Verdict::Stored;
        }
        match members {
            Some(members) => rules::judge(attempt.route, members),
            None => Verdict::Refused(vec![FieldError::not_json()]),
        }
    }

    fn is_repeat(&self, attempt: &Attempt, ticket: &Ticket, now_ms: u64) -> bool {
        let Some(scope) = attempt.transaction_scope(&ticket.account) else { return false };
        !self.memory().transactions.is_first(now_ms, scope)
    }

    /// Undoes what was remembered of a record that could not be written down.
    fn take_back(&self, attempt: &Attempt, ticket: &Ticket, what: What) {
        let mut memory = self.memory();
        if let (What::Billed, Some(scope)) = (what, attempt.transaction_scope(&ticket.account)) {
            memory.transactions.forget(scope);
        }
        if let Some(scope) = ticket.key_scope {
            memory.keys.abandon(scope);
        }
    }

    fn created(&self, at_ms: u64) -> Answer {
        Answer::created(self.stored.fetch_add(1, Ordering::Relaxed), at_ms)
    }

    fn account(&self, headers: &HeaderMap) -> Account {
        let Some(key) = headers.get("x-api-key") else {
            return Err(match headers.contains_key(AUTHORIZATION) {
                true => (403, "Forbidden: use x-api-key"),
                false => (401, "Unauthorized: x-api-key is missing"),
            });
        };
        let key = key.to_str().unwrap_or("");
        if key.starts_with("rev_rk_") {
            return Err((403, "Forbidden: a read key cannot meter"));
        }
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(key).cloned().ok_or((401, "Unauthorized: unknown API key"))
    }

    /// The quota to tell, or how to answer a request that came too fast.
    fn admit(&self, account: &Arc<str>) -> Result<Option<Quota>, impl FnOnce(At<'_>) -> Answer + use<>> {
        if self.is_unpaced {
            return Ok(None);
        }
        match self.pace().admit(account, self.clock.now_ms()) {
            Admission::Admitted { quota } => Ok(quota),
            Admission::Limited { quota, reason, retry_after_s } => {
                let tally = &self.ledger.tally;
                Tally::add(
                    match reason {
                        Limited::BucketRate => &tally.rate_limited,
                        Limited::ErrorPattern => &tally.pattern_limited,
                    },
                    1,
                );
                Err(move |at: At<'_>| Answer::limited(at, quota, reason, retry_after_s))
            }
        }
    }

    fn done(&self, attempt: &Attempt, answer: Answer, quota: Option<Quota>, why: &str) -> Begun {
        self.tell(attempt, || Fate::Refused(answer.status, why.to_owned()));
        Begun::Done(answer.with_quota(quota))
    }

    /// Turns a request away in a way that counts towards the error pattern.
    fn refuse(
        &self,
        attempt: &Attempt,
        account: &Arc<str>,
        quota: Option<Quota>,
        answer: Answer,
        why: &str,
    ) -> Begun {
        self.pace().refused(account, attempt.at_ms);
        self.done(attempt, answer, quota, why)
    }

    fn tally_attempt(&self, body_bytes: usize) {
        Tally::add(&self.ledger.tally.attempts, 1);
        Tally::add(&self.ledger.tally.body_bytes, body_bytes as u64);
    }

    fn write(&self, attempt: &Attempt, what: What, fault: Option<&'static str>) -> Result<(), Answer> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let has_body = journal.has_bodies && what == What::Billed;
        let entry =
            Entry { fault: fault.map(Cow::Borrowed), ..attempt.entry(what, self.clock.now_ms(), has_body) };
        journal.write(&entry).map_err(|_| {
            Tally::add(&self.ledger.tally.journal_errors, 1);
            Answer::error(attempt.at(), 500, None, "the sandbox cannot write its journal")
        })
    }

    fn tell(&self, attempt: &Attempt, fate: impl FnOnce() -> Fate) {
        if self.on_received.is_some() {
            self.tell_with(attempt, Members::parse(&attempt.body).as_ref(), fate);
        }
    }

    fn tell_with(&self, attempt: &Attempt, members: Option<&Members<'_>>, fate: impl FnOnce() -> Fate) {
        if let Some(on_received) = &self.on_received {
            on_received.call(&Received::new(attempt.at_ms, attempt.route.kind, members, fate()));
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn reasons(errors: &[FieldError]) -> String {
    errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_could_not_be_written_down_is_new_when_it_comes_again() {
        let full = Journal::open(std::path::Path::new("/dev/full"), false).expect("a device");
        let mut meter = Meter::new(&Options { has_rules: false, ..Options::default() }, Some(full));
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-api-key", "hak_sandbox"), ("idempotency-key", "key-1"), ("content-type", "application/json")]
        {
            headers.insert(name, value.parse().expect("a value"));
        }
        let body = Bytes::from_static(br#"{"transactionId":"tx-1"}"#);
        let attempt = meter.attempt(&rules::ROUTES[0], &headers, body);
        let Begun::Running(ticket) = meter.begin(&attempt) else { panic!("taken in") };
        assert_eq!(meter.complete(&attempt, &ticket).status, 500);
        assert_eq!(meter.ledger.tally.counts().billed, 0);

        meter.journal = None;
        let Begun::Running(ticket) = meter.begin(&attempt) else { panic!("taken in again") };
        assert_eq!(meter.complete(&attempt, &ticket).status, 201);
        let counts = meter.ledger.tally.counts();
        assert_eq!((counts.billed, counts.repeated, counts.journal_errors), (1, 0, 1));
    }
}
