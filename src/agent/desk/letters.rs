//! Dead letters, page by page: told, exported, given up.

use std::ops::ControlFlow;
use std::sync::PoisonError;

use revenium_event::{compact, masked};
use tracing::info;

use super::api::{Answer, Done, Failed, Letter, LettersRequest, Page};
use super::filter::{Checked, Filter};
use super::{DURABLE_TIME_MAX, Desk, DeskError};
use crate::queue::{DeadLetter, Seq};

/// Letters of a page.
const PAGE_LETTERS_MAX: usize = 256;

/// Bytes of the bodies of a page, but for its last one.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// Letters that are looked at for one page, and bytes of their bodies, whether or not they are meant.
const LOOKED_AT_MAX: usize = 2048;
const LOOKED_AT_BYTES_MAX: usize = 64 << 20;

/// Letters that are read at once: a body may have a MiB.
const READ_MAX: usize = 16;

/// Where a page begins and ends.
pub(super) struct Span {
    /// The last number before it.
    pub(super) after: u64,
    /// The first number that is not in it.
    pub(super) upto: u64,
}

/// A page in the making; says when it is full.
#[derive(Default)]
pub(super) struct Full {
    letters: usize,
    bytes: usize,
}

impl Full {
    pub(super) fn add(&mut self, letter: &DeadLetter) -> ControlFlow<()> {
        self.letters += 1;
        self.bytes += letter.record.body.len();
        if self.letters >= PAGE_LETTERS_MAX || self.bytes >= PAGE_BYTES_MAX {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Desk {
    /// Does what is asked; may take as long as reading and writing a page does.
    pub(super) fn answer(&self, request: &LettersRequest) -> Result<Answer, DeskError> {
        let turn = || self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let note = |what: &str, done: &Done| {
            let (letters, failed) = (done.done, done.failed.len());
            info!(letters, failed, "a person has dead letters {what}");
        };
        match request {
            LettersRequest::List { filter, after, max } => self.list(filter, *after, *max).map(Answer::Page),
            LettersRequest::Show { seq, reveal } => self.show(*seq, *reveal).map(Answer::Page),
            LettersRequest::Export { filter, after } => self.export(filter, *after).map(Answer::Page),
            LettersRequest::Retry { filter, after, upto, new_transaction_id } => {
                let _turn = turn();
                let done = self.retry(filter, *after, *upto, *new_transaction_id);
                done.inspect(|done| note("retried", done)).map(Answer::Done)
            }
            LettersRequest::Edit { seq, body, new_transaction_id } => {
                let _turn = turn();
                let done = self.edit(*seq, body, *new_transaction_id);
                done.inspect(|done| note("edited and retried", done)).map(Answer::Done)
            }
            LettersRequest::Discard { filter, after, upto } => {
                let _turn = turn();
                let done = self.discard(filter, *after, *upto);
                done.inspect(|done| note("discarded", done)).map(Answer::Done)
            }
        }
    }

    fn list(&self, filter: &Filter, after: u64, max: usize) -> Result<Page, DeskError> {
        let filter = filter.check()?;
        self.follow()?;
        let max = max.clamp(1, PAGE_LETTERS_MAX);
        let mut letters = Vec::new();
        let span = Span { after, upto: u64::MAX };
        let next = self.scan(&filter, &span, |letter| {
            letters.push(Letter::of(&letter));
            if letters.len() >= max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(Page { letters, next })
    }

    fn show(&self, seq: u64, reveal: bool) -> Result<Page, DeskError> {
        self.follow()?;
        let found = self.letter(seq)?.ok_or(DeskError::NoLetter(seq))?;
        let body = String::from_utf8_lossy(&found.record.body);
        let body = if reveal { body.into_owned() } else { masked(&body) };
        Ok(Page { letters: vec![Letter { body: Some(body), ..Letter::of(&found) }], next: None })
    }

    fn export(&self, filter: &Filter, after: u64) -> Result<Page, DeskError> {
        let filter = filter.check()?;
        self.follow()?;
        let (mut letters, mut full) = (Vec::new(), Full::default());
        let span = Span { after, upto: u64::MAX };
        let next = self.scan(&filter, &span, |letter| {
            let body = compact(&String::from_utf8_lossy(&letter.record.body));
            letters.push(Letter { body: Some(body), ..Letter::of(&letter) });
            full.add(&letter)
        })?;
        Ok(Page { letters, next })
    }

    fn discard(&self, filter: &Filter, after: u64, upto: Option<u64>) -> Result<Done, DeskError> {
        let filter = filter.check()?;
        self.settle()?;
        let upto = self.upto(upto)?;
        let mut seqs = Vec::new();
        let mut full = Full::default();
        let span = Span { after, upto };
        let next = self.scan(&filter, &span, |letter| {
            seqs.push(letter.record.seq);
            full.add(&letter)
        })?;
        let mut done = Done { next, upto, ..Done::default() };
        done.failed.extend(self.missing(&filter, &span, next, &seqs)?);
        for seq in seqs {
            match self.store.discard_dead(seq) {
                Ok(is_gone) => done.done += u64::from(is_gone),
                Err(error) => {
                    let error = DeskError::from(error).into();
                    done.failed.push(Failed { seq: seq.0, error });
                }
            }
        }
        if self.settle().is_err() {
            return Err(DeskError::NotDurable);
        }
        Ok(done)
    }

    /// Makes everything durable that was noted, and sees to it that the index knows of it.
    pub(super) fn settle(&self) -> Result<(), DeskError> {
        if self.store.wait_settled(DURABLE_TIME_MAX) { Ok(()) } else { Err(DeskError::NotReady) }
    }

    /// Above the letters that a command is about: those of its first page's moment.
    pub(super) fn upto(&self, given: Option<u64>) -> Result<u64, DeskError> {
        Ok(given.map_or_else(|| self.store.followed_to().map(|seq| seq.0), Ok)?)
    }

    /// The dead letter `seq`.
    pub(super) fn letter(&self, seq: u64) -> Result<Option<DeadLetter>, DeskError> {
        let Some(before) = seq.checked_sub(1) else { return Ok(None) };
        let found = self.store.dead_letters(Seq(before), 1)?.pop();
        Ok(found.filter(|letter| letter.record.seq.0 == seq))
    }

    /// Visits letters that are meant, ascending, until the visitor or the page's bounds end it. Gives
    /// the number to go on after, if there may be more.
    pub(super) fn scan(
        &self,
        filter: &Checked<'_>,
        span: &Span,
        mut visit: impl FnMut(DeadLetter) -> ControlFlow<()>,
    ) -> Result<Option<u64>, DeskError> {
        if let Some(seqs) = filter.seqs() {
            for seq in seqs.into_iter().filter(|seq| *seq > span.after && *seq < span.upto) {
                let Some(letter) = self.letter(seq)?.filter(|letter| filter.fits(letter)) else { continue };
                if visit(letter).is_break() {
                    return Ok(Some(seq));
                }
            }
            return Ok(None);
        }
        let (mut last, mut looked_at, mut bytes) = (span.after, 0, 0);
        while looked_at < LOOKED_AT_MAX && bytes < LOOKED_AT_BYTES_MAX {
            let letters = self.store.dead_letters(Seq(last), READ_MAX)?;
            if letters.is_empty() {
                return Ok(None);
            }
            for letter in letters {
                last = letter.record.seq.0;
                looked_at += 1;
                bytes += letter.record.body.len();
                if last >= span.upto {
                    return Ok(None);
                }
                if filter.fits(&letter) && visit(letter).is_break() {
                    return Ok(Some(last));
                }
            }
        }
        Ok(Some(last))
    }

    /// Numbers that were asked for by name on this page and are no letters that fit.
    pub(super) fn missing(
        &self,
        filter: &Checked<'_>,
        span: &Span,
        next: Option<u64>,
        met: &[Seq],
    ) -> Result<Vec<Failed>, DeskError> {
        let asked = filter.seqs().unwrap_or_default();
        let on_page =
            asked.into_iter().filter(|seq| *seq > span.after && next.is_none_or(|next| *seq <= next));
        let mut missing = Vec::new();
        for seq in on_page.filter(|seq| !met.contains(&Seq(*seq))) {
            // One that is there and was left out by the rest of the filter is not missing.
            if self.letter(seq)?.is_none() || seq >= span.upto {
                missing.push(Failed { seq, error: DeskError::NoLetter(seq).into() });
            }
        }
        Ok(missing)
    }
}
