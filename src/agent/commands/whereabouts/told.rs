//! What `where` tells: one answer, as a screen or as JSON.

use std::fmt::Write;

use revenium_event::Kind;
use revenium_store::{Fate, Traced};
use serde::Serialize;

use super::super::{count, plain, time};
use crate::admin::Status;
use crate::drain::Reason;
use crate::exit::{Exit, Failure, OrExit};
use crate::receipts::Receipt;

/// What is known of an id.
pub(super) struct Whereabouts {
    pub(super) id: String,
    /// In the order in which they were received.
    pub(super) records: Vec<Told>,
    /// Whether there are more than these.
    pub(super) has_more: bool,
    /// Damaged places of the log, in which nothing could be looked for.
    pub(super) damaged: u64,
    /// Since when there are receipts, if there is one.
    pub(super) receipts_since_ms: Option<u64>,
    pub(super) data_dir: String,
}

/// What is known of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) fate: Fate,
    seq: u64,
    profile: String,
    kind: String,
    transaction: String,
    key: String,
    /// The one that Revenium gave.
    id: Option<String>,
    received_ms: u64,
    /// Not known of what has no receipt.
    delivered_ms: Option<u64>,
    attempts: u32,
    /// Not before, if it was postponed.
    next_try_ms: Option<u64>,
    /// Why it is a dead letter.
    letter: Option<Letter>,
    /// Why it waits.
    why: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Letter {
    reason: &'static str,
    status: u16,
    words: String,
    died_ms: u64,
}

impl Told {
    /// What the log says of it.
    pub(super) fn of_log(traced: Traced) -> Self {
        let Traced { record, fate, not_before_ms, dead } = traced;
        let route = record.lane.route;
        // Of one that was delivered, the attempt that did it was not noted.
        let attempts = record.attempts + u32::from(fate == Fate::Delivered);
        Self {
            fate,
            seq: record.seq.0,
            profile: record.lane.profile.to_string(),
            kind: Kind::from_code(route).map_or("other", Kind::name).to_owned(),
            transaction: super::transaction(route, &record.body).unwrap_or_default(),
            key: record.key.to_string(),
            id: None,
            received_ms: record.received_at_ms,
            delivered_ms: None,
            attempts,
            next_try_ms: (fate == Fate::Waiting && not_before_ms > 0).then_some(not_before_ms),
            letter: dead.filter(|_| fate == Fate::Dead).map(|note| Letter {
                reason: Reason::from_code(note.reason).map_or("other", Reason::name),
                status: note.status,
                words: note.words,
                died_ms: note.at_ms,
            }),
            why: None,
        }
    }

    fn of_receipt(receipt: Receipt) -> Self {
        Self {
            fate: Fate::Delivered,
            seq: receipt.seq,
            profile: receipt.profile,
            kind: receipt.kind,
            transaction: receipt.transaction,
            key: receipt.key,
            id: receipt.id,
            received_ms: receipt.received_ms,
            delivered_ms: Some(receipt.delivered_ms),
            attempts: receipt.attempts,
            next_try_ms: None,
            letter: None,
            why: None,
        }
    }

    /// Why it waits, as far as the agent that runs tells.
    fn why(&self, status: Option<&Status>) -> String {
        let Some(status) = status else { return "no agent runs that could be asked".to_owned() };
        let profile = status.profiles.iter().find(|profile| profile.name == self.profile);
        let holds = |route: Option<&str>| route.is_none_or(|route| route == self.kind);
        let pause = profile.and_then(|profile| profile.paused.iter().find(|p| holds(p.route.as_deref())));
        if let Some(pause) = pause {
            let probe = pause.next_probe_ms.map(|at| format!("; one is tried at {}", time(at)));
            return format!("paused: {}{}", pause.words, probe.unwrap_or_default());
        }
        let account = profile.and_then(|profile| profile.account.as_ref());
        let pace = status.pace.iter().find(|pace| Some(&pace.account) == account);
        match pace.and_then(|pace| pace.note.as_ref()).or(status.waiting_for.first()) {
            Some(note) => note.clone(),
            None => "its turn comes".to_owned(),
        }
    }

    fn screen(&self, text: &mut String) {
        let attempts = count(self.attempts.into(), "attempt");
        let at = |ms: Option<u64>| ms.map_or_else(String::new, |ms| format!(" {}", time(ms)));
        let what = match self.fate {
            Fate::Delivered => {
                // A receipt has both; the log alone knows only of attempts that failed.
                format!("delivered{}, with {attempts}", at(self.delivered_ms))
            }
            Fate::Waiting => format!("waits, after {attempts}"),
            Fate::Dead => "is a dead letter".to_owned(),
            Fate::Discarded => "was discarded by a person".to_owned(),
            Fate::Lost => "was lost to damage".to_owned(),
            Fate::Ended => "ended; another record took its place, as a retry does".to_owned(),
        };
        let _ = writeln!(text, "\nrecord {} {what}", self.seq);
        let mut rows = vec![
            ("event", format!("{} of profile {}", self.kind, self.profile)),
            ("received", time(self.received_ms)),
            ("transactionId", self.transaction.clone()),
            ("Idempotency-Key", self.key.clone()),
        ];
        if let Some(id) = &self.id {
            rows.push(("Revenium's id", id.clone()));
        } else if self.fate == Fate::Delivered {
            rows.push(("Revenium's id", "none was given, or its receipt is gone".to_owned()));
        }
        if let Some(why) = &self.why {
            rows.push(("why", why.clone()));
        }
        if let Some(at) = self.next_try_ms {
            rows.push(("not before", time(at)));
        }
        if let Some(letter) = &self.letter {
            let status = if letter.status == 0 { String::new() } else { format!(" ({})", letter.status) };
            rows.push(("died", time(letter.died_ms)));
            rows.push(("why", format!("{}{status}: {}", letter.reason, letter.words)));
            rows.push(("next", format!("`revenium-agent dlq show {}`", self.seq)));
        }
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:<16}{}", plain(&value));
        }
    }
}

impl Whereabouts {
    /// Takes in receipts; what the log says of the same records, they know better.
    pub(super) fn add(&mut self, receipts: Vec<Receipt>) {
        for told in receipts.into_iter().map(Told::of_receipt) {
            // A log that was begun anew gives numbers again.
            let is_same = |known: &&mut Told| known.seq == told.seq && known.received_ms == told.received_ms;
            match self.records.iter_mut().find(is_same) {
                Some(known) => *known = told,
                None => self.records.push(told),
            }
        }
        self.records.sort_by_key(|told| (told.received_ms, told.seq));
    }

    /// Says of what waits why it does.
    pub(super) fn say_why(&mut self, status: Option<&Status>) {
        for told in self.records.iter_mut().filter(|told| told.fate == Fate::Waiting) {
            told.why = Some(told.why(status));
        }
    }

    /// Whether Revenium confirmed it, and nothing of it is left to be delivered or decided, nor untold here.
    pub(super) fn is_delivered(&self) -> bool {
        let is_left = |told: &Told| matches!(told.fate, Fate::Waiting | Fate::Dead | Fate::Lost);
        let is_any = self.records.iter().any(|told| told.fate == Fate::Delivered);
        is_any && !self.has_more && !self.records.iter().any(is_left)
    }

    pub(super) fn screen(&self) -> String {
        let mut text = String::new();
        let of = |fate| self.records.iter().filter(|told| told.fate == fate).count();
        if self.records.is_empty() {
            self.say_unknown(&mut text);
        } else if self.is_delivered() {
            text.push_str("delivered: Revenium confirmed it\n");
        } else {
            let each = [
                (Fate::Delivered, "delivered"),
                (Fate::Waiting, "waiting"),
                (Fate::Dead, "dead"),
                (Fate::Discarded, "discarded"),
                (Fate::Lost, "lost"),
                (Fate::Ended, "replaced"),
            ];
            let counts = each.map(|(fate, name)| (of(fate), name)).into_iter().filter(|(n, _)| *n > 0);
            let words: Vec<_> = counts.map(|(n, name)| format!("{n} {name}")).collect();
            let all = if of(Fate::Delivered) > 0 { "NOT ALL OF IT IS DELIVERED" } else { "NOT DELIVERED" };
            let _ = writeln!(text, "{all}: {}", words.join(", "));
        }
        self.records.iter().for_each(|told| told.screen(&mut text));
        if self.has_more {
            let _ = writeln!(text, "\nthere are more; these are the newest");
        }
        if self.damaged > 0 {
            let places = count(self.damaged, "damaged place");
            let _ = writeln!(
                text,
                "\nthe log has {places}, in which nothing can be looked up: `revenium-agent log verify` says where"
            );
        }
        text
    }

    fn say_unknown(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "not known: nothing in {} has this id, be it a transactionId, an Idempotency-Key or one of Revenium's",
            self.data_dir
        );
        let _ = match self.receipts_since_ms {
            Some(ms) => writeln!(
                text,
                "  receipts go back to {}; of what was delivered before, nothing is known any more",
                time(ms)
            ),
            None => writeln!(text, "  there is no receipt of any delivery yet"),
        };
        text.push_str(
            "  it may lie in a spool file that no agent has taken in yet: `revenium-agent doctor` looks for these\n  \
             or with another agent: --data-dir or --config names it\n",
        );
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        let line = Line {
            id: &self.id,
            is_known: !self.records.is_empty(),
            is_delivered: self.is_delivered(),
            records: self.records.iter().map(Row::of).collect(),
            has_more: self.has_more,
            receipts_since: self.receipts_since_ms.map(time),
            damaged: self.damaged,
            data_dir: &self.data_dir,
        };
        serde_json::to_string(&line).or_exit(Exit::Bug, "the result cannot be written as JSON")
    }
}

#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    is_known: bool,
    is_delivered: bool,
    records: Vec<Row<'a>>,
    has_more: bool,
    receipts_since: Option<String>,
    damaged: u64,
    data_dir: &'a str,
}

#[derive(Serialize)]
struct Row<'a> {
    state: &'a str,
    seq: u64,
    profile: &'a str,
    kind: &'a str,
    transaction_id: &'a str,
    key: &'a str,
    revenium_id: Option<&'a str>,
    received_at: String,
    delivered_at: Option<String>,
    attempts: u32,
    next_try_at: Option<String>,
    reason: Option<&'a str>,
    status: Option<u16>,
    words: Option<&'a str>,
    died_at: Option<String>,
}

impl<'a> Row<'a> {
    fn of(told: &'a Told) -> Self {
        let letter = told.letter.as_ref();
        Self {
            state: told.fate.name(),
            seq: told.seq,
            profile: &told.profile,
            kind: &told.kind,
            transaction_id: &told.transaction,
            key: &told.key,
            revenium_id: told.id.as_deref(),
            received_at: time(told.received_ms),
            delivered_at: told.delivered_ms.map(time),
            attempts: told.attempts,
            next_try_at: told.next_try_ms.map(time),
            reason: letter.map(|letter| letter.reason),
            status: letter.map(|letter| letter.status).filter(|status| *status > 0),
            words: letter.map(|letter| letter.words.as_str()).or(told.why.as_deref()),
            died_at: letter.map(|letter| time(letter.died_ms)),
        }
    }
}
