//! Sending dead letters again: as they are, frozen anew, or as a person changed them.
//!
//! The record that takes a letter's place is appended with the letter's end in the same commit, so a
//! crash leaves exactly one of the two. Its key is UUIDv5(old key, 1): a letter is tried once more
//! under its key, because then its place is taken, and what becomes of that try has a key of its
//! own to go on from. Should the try be lost with its commit, the next one has the same key. A conflict
//! has the key of the event that came first, as any other conflict with it has: in the place of the 1
//! is its number, so that no two of them are tried under one key.

use std::iter;
use std::ops::ControlFlow;

use bytes::Bytes;
use revenium_event::{
    Identity, Kind, Minted, compact, member, retry_key, transaction_id, with_kind, without_transaction_id,
};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::api::{Done, Failed, Warned, is_probably_delivered};
use super::filter::Filter;
use super::letters::{Full, Span};
use super::{Desk, DeskError, is_unknown_key};
use crate::drain::Reason;
use crate::intake::{Admission, Admitted, Door, PROFILE_UNUSABLE};
use crate::queue::{DeadLetter, Lane, NewRecord};
use crate::tasks;
use crate::tenant::Tenants;

/// The attempt in a retry's key; the module says why there is no second.
const ATTEMPT: u64 = 1;

/// Bytes of bodies that are appended together: a small part of what one commit takes.
const APPEND_BYTES_MAX: usize = 256 << 10;

/// Records that go into the log together, with the numbers of the letters that they end.
#[derive(Default)]
struct Batch {
    records: Vec<NewRecord>,
    bytes: usize,
}

impl Desk {
    /// Retries a page of letters.
    pub(super) fn retry(
        &self,
        filter: &Filter,
        after: u64,
        upto: Option<u64>,
        new_transaction_id: bool,
    ) -> Result<Done, DeskError> {
        let filter = filter.check()?;
        let is_by_number = filter.seqs().is_some();
        self.settle()?;
        let upto = self.upto(upto)?;
        let (mut done, mut met) = (Done { upto, ..Done::default() }, Vec::new());
        let (mut batch, mut full) = (Batch::default(), Full::default());
        let mut stopped = None;
        let span = Span { after, upto };
        let next = self.scan(&filter, &span, |letter| {
            let seq = letter.record.seq;
            met.push(seq);
            let is_doubtful = is_probably_delivered(letter.note.reason);
            if is_doubtful && !is_by_number {
                done.left_out += 1;
                return full.add(&letter);
            }
            match self.again(&letter, None, new_transaction_id) {
                Ok(records) => {
                    if is_doubtful {
                        done.warnings.push(doubt(seq.0, new_transaction_id));
                    }
                    batch.bytes += records.iter().map(|record| record.body.len()).sum::<usize>();
                    batch.records.extend(records);
                }
                Err(error) => done.failed.push(Failed { seq: seq.0, error: error.into() }),
            }
            if batch.bytes >= APPEND_BYTES_MAX {
                stopped = self.append(&mut batch, &mut done).err();
                if stopped.is_some() {
                    return ControlFlow::Break(());
                }
            }
            full.add(&letter)
        })?;
        let stopped = stopped.or_else(|| self.append(&mut batch, &mut done).err());
        done.failed.extend(self.missing(&filter, &span, next, &met)?);
        // Whatever comes next would fare no better.
        done.next = next.filter(|_| stopped.is_none());
        Ok(done)
    }

    /// Retries one letter with another body.
    pub(super) fn edit(&self, seq: u64, body: &str, new_transaction_id: bool) -> Result<Done, DeskError> {
        self.settle()?;
        let letter = self.letter(seq)?.ok_or(DeskError::NoLetter(seq))?;
        let body = compact(body);
        if body == compact(&String::from_utf8_lossy(&letter.record.body)) {
            return Err(DeskError::Unchanged);
        }
        let records = self.again(&letter, Some(&body), new_transaction_id)?;
        let mut done = Done { upto: self.upto(None)?, ..Done::default() };
        if is_probably_delivered(letter.note.reason) {
            done.warnings.push(doubt(seq, new_transaction_id));
        }
        self.append(&mut Batch { bytes: 0, records }, &mut done)?;
        Ok(done)
    }

    /// Appends the batch, which is empty after it; on error its letters are as they were.
    fn append(&self, batch: &mut Batch, done: &mut Done) -> Result<(), DeskError> {
        let Batch { records, .. } = std::mem::take(batch);
        if records.is_empty() {
            return Ok(());
        }
        let seqs: Vec<u64> = records.iter().filter_map(|record| record.replaces).map(|seq| seq.0).collect();
        match tasks::wait_for(self.store.append(records)) {
            Ok(_) => {
                done.done += seqs.len() as u64;
                Ok(())
            }
            Err(error) => {
                let error = DeskError::from(error);
                let failed = |seq| Failed { seq, error: error.clone().into() };
                done.failed.extend(seqs.into_iter().map(failed));
                Err(error)
            }
        }
    }

    /// The record that takes the letter's place, and what is billed beside it.
    fn again(
        &self,
        letter: &DeadLetter,
        edited: Option<&str>,
        new_transaction_id: bool,
    ) -> Result<Vec<NewRecord>, DeskError> {
        let was_frozen = Reason::from_code(letter.note.reason) != Some(Reason::RefusedAtIntake);
        if was_frozen && edited.is_none() && !new_transaction_id {
            return Ok(vec![self.as_it_is(letter)?]);
        }
        let lane = &letter.record.lane;
        let event = edited.map_or(&letter.record.body[..], str::as_bytes);
        if was_frozen && revenium_anthropic::is_call(event) {
            // One that came by the relay may have a member of that name. Read as a call, it would be billed
            // by other amounts than it was sent with.
            let message = "it was sent as an event, not as the facts of a call: `dlq edit` it, and take this member out";
            return Err(DeskError::invalid("call", message));
        }
        let kind = Kind::from_code(lane.route).unwrap_or(Kind::Completion);
        // A frozen body lacks its kind, and so does what a client of the relay sent: its path had it.
        let event = with_kind(event, kind)?;
        let event = settle_transaction_id(letter, event, kind, was_frozen, new_transaction_id)?;
        let key = next_key(letter);
        let minted = Minted { now_ms: letter.record.received_at_ms, random: *Uuid::new_v4().as_bytes() };
        let admission =
            self.door_of(&lane.profile).admit(&event, &Identity::Key(&key), Some(&lane.profile), &minted);
        let Admission { event: Admitted { record, .. }, parts } =
            admission.map_err(|turned| turned.refusal)?;
        if was_frozen && record.lane.profile != lane.profile {
            let message = format!("it was meant for {}, and is sent to no other account", lane.profile);
            return Err(DeskError::invalid("profile", message));
        }
        if !was_frozen {
            check_destination(letter, edited, &record.lane)?;
        }
        let first = NewRecord { key_is_identity: false, replaces: Some(letter.record.seq), ..record };
        let parts = parts.into_iter().map(|part| NewRecord { key_is_identity: false, ..part.record });
        Ok(iter::once(first).chain(parts).collect())
    }

    /// With the bytes that it was sent with before.
    fn as_it_is(&self, letter: &DeadLetter) -> Result<NewRecord, DeskError> {
        let record = &letter.record;
        let profile = &record.lane.profile;
        if !is_unknown_key(profile) && !self.profiles.contains(profile) {
            let message = format!("profile {profile} is not configured here; configure it, then retry");
            return Err(DeskError::invalid("profile", message));
        }
        Ok(NewRecord {
            lane: record.lane.clone(),
            key: next_key(letter).into(),
            number: None,
            key_is_identity: false,
            fingerprint: xxh3_64(&record.body),
            received_at_ms: record.received_at_ms,
            body: Bytes::clone(&record.body),
            dead: None,
            replaces: Some(record.seq),
            is_part: false,
        })
    }

    /// The door for a letter of `profile`: as intake's, and open for the unknown key that the letter
    /// came with, but for no other.
    fn door_of(&self, profile: &std::sync::Arc<str>) -> Door {
        let own = is_unknown_key(profile).then(|| profile.clone());
        Door::new(Tenants::by_name(self.profiles.iter().cloned().chain(own)))
    }
}

/// The Idempotency-Key of the record that takes the letter's place.
fn next_key(letter: &DeadLetter) -> String {
    let is_conflict = Reason::from_code(letter.note.reason) == Some(Reason::Conflict);
    // Never 1: the event that came first has a lower number.
    let attempt = if is_conflict { letter.record.seq.0 } else { ATTEMPT };
    retry_key(&letter.record.key, attempt)
}

/// What intake refused goes where it was meant to go, unless a person has said otherwise. A line's members
/// say the same as its lane; those of a body that came by the relay may not: its key and path had said it.
fn check_destination(letter: &DeadLetter, edited: Option<&str>, to: &Lane) -> Result<(), DeskError> {
    let lane = &letter.record.lane;
    // Members that route a line, and nothing in a body that came by the relay.
    let said = |event: &[u8], name| {
        let raw = member(event, name)?.to_owned();
        Some(serde_json::from_str(&raw).unwrap_or(serde_json::Value::String(raw)))
    };
    let is_left =
        |name| edited.is_none_or(|now| said(now.as_bytes(), name) == said(&letter.record.body, name));
    // It was taken for nobody, and who sent it may have had no right to the name in it: the word of whoever edits counts.
    let is_nobodys = &*lane.profile == PROFILE_UNUSABLE;
    if is_nobodys && edited.is_none() {
        let message = format!(
            "its member `profile` says {}, for which it was not taken: `dlq edit` it, and it goes where that member then says",
            to.profile
        );
        return Err(DeskError::invalid("profile", message));
    }
    if is_left("profile") && to.profile != lane.profile && !is_nobodys {
        let message = format!(
            "it came for {}, and its member `profile` says {}: `dlq edit` it, and take the member out or change it",
            lane.profile, to.profile
        );
        return Err(DeskError::invalid("profile", message));
    }
    if is_left("kind") && to.route != lane.route {
        let name = |route| Kind::from_code(route).map_or("other", Kind::name);
        let message = format!(
            "it came as {}, and its member `kind` says {}: `dlq edit` it, and take the member out or change it",
            name(lane.route),
            name(to.route)
        );
        return Err(DeskError::invalid("kind", message));
    }
    Ok(())
}

/// The event with the `transactionId` that it is to have; one that is cut is minted by freezing.
///
/// What was sent before keeps the one it had, since Revenium may know it by that, unless a new one
/// is asked for: that may be the person's own.
fn settle_transaction_id(
    letter: &DeadLetter,
    event: Vec<u8>,
    kind: Kind,
    was_frozen: bool,
    new_transaction_id: bool,
) -> Result<Vec<u8>, DeskError> {
    let before = transaction_id(&letter.record.body, kind);
    let is_same = transaction_id(&event, kind) == before;
    match (new_transaction_id, is_same) {
        (true, true) if revenium_anthropic::is_call(&event) => Err(DeskError::invalid(
            "transactionId",
            "a call has its transactionId from its `id`, or `request_id`; it was not sent yet: `dlq edit` it \
             if these have to change, without --new-transaction-id",
        )),
        (true, true) => Ok(without_transaction_id(&event, kind)?),
        (false, false) if was_frozen => Err(DeskError::invalid(
            "transactionId",
            "the event was sent under another transactionId; leave it, or ask for a new one with \
             --new-transaction-id if it is to count as another event",
        )),
        _ => Ok(event),
    }
}

fn doubt(seq: u64, new_transaction_id: bool) -> Warned {
    let warning = if new_transaction_id {
        "it was probably delivered before, and with a new transactionId it is billed again"
    } else {
        "it was probably delivered before; Revenium tells by its transactionId"
    };
    Warned { seq, warning: warning.to_owned() }
}
