//! One lane as the drain sees it: a few claimed records from either end, and when to claim more.
//!
//! While a lane has a backlog, every fourth record comes from its newest end, so that what happens
//! now is not kept waiting behind what happened yesterday. Without one, both ends are the same.

use std::collections::VecDeque;

use revenium_store::{End, Lane, Record};

/// One record in so many is taken from the newest end.
const NEWEST_EACH: u8 = 4;
/// Records claimed at once, at most; a claim is cheap, but not free.
const CLAIM_MAX: usize = 256;
/// Bytes that a claim should bring, at most, going by the bodies seen so far.
const CLAIM_BYTES: f64 = 2.0 * 1024.0 * 1024.0;
/// What a body takes until one was seen: a completion with prompts, as large as they usually get.
const BODY_BYTES: f64 = 64.0 * 1024.0;

/// The claimed records of one lane.
#[derive(Debug)]
pub(super) struct LaneQueue {
    pub(super) lane: Lane,
    /// The profile's place in the account.
    pub(super) profile: usize,
    /// Records that passed since start.
    pub(super) passed: u64,
    /// Whether there may be something to claim.
    may_have_more: bool,
    /// Whether a hint came since the claim that is out was made.
    was_hinted: bool,
    oldest: Claimed,
    newest: Claimed,
    has_backlog: bool,
    turn: u8,
    body_bytes: f64,
    probes: u64,
}

#[derive(Debug, Default)]
struct Claimed {
    records: VecDeque<Record>,
    is_claiming: bool,
}

impl LaneQueue {
    pub(super) fn new(lane: Lane, profile: usize) -> Self {
        Self {
            lane,
            profile,
            passed: 0,
            may_have_more: false,
            was_hinted: false,
            oldest: Claimed::default(),
            newest: Claimed::default(),
            has_backlog: false,
            turn: 0,
            body_bytes: BODY_BYTES,
            probes: 0,
        }
    }

    fn end(&mut self, end: End) -> &mut Claimed {
        match end {
            End::Oldest => &mut self.oldest,
            End::Newest => &mut self.newest,
        }
    }

    /// There may be something to claim (again).
    pub(super) fn hint(&mut self) {
        self.may_have_more = true;
        self.was_hinted = true;
    }

    /// The next record to send.
    pub(super) fn take(&mut self) -> Option<Record> {
        let newest_first = self.turn + 1 == NEWEST_EACH;
        let ends = if newest_first { [End::Newest, End::Oldest] } else { [End::Oldest, End::Newest] };
        let record = ends.into_iter().find_map(|end| self.end(end).records.pop_front())?;
        self.turn = (self.turn + 1) % NEWEST_EACH;
        Some(record)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest.records.is_empty() && self.newest.records.is_empty()
    }

    /// The claim to make now, if any, with `records_max` as many as the pace can use soon.
    pub(super) fn claim(&mut self, records_max: usize) -> Option<(End, usize)> {
        if !self.may_have_more {
            return None;
        }
        let max = self.claim_max(records_max);
        let newest_max = max.div_ceil(usize::from(NEWEST_EACH));
        for (end, max) in [(End::Oldest, max), (End::Newest, newest_max)] {
            // Before a first full claim nobody knows of a backlog, and one end gives all there is.
            if end == End::Newest && !self.has_backlog {
                continue;
            }
            let claimed = self.end(end);
            if !claimed.is_claiming && claimed.records.len() <= max / 2 {
                claimed.is_claiming = true;
                self.was_hinted = false;
                return Some((end, max));
            }
        }
        None
    }

    fn claim_max(&self, records_max: usize) -> usize {
        // A positive number of at most CLAIM_BYTES.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let by_bytes = (CLAIM_BYTES / self.body_bytes) as usize;
        records_max.min(by_bytes).clamp(1, CLAIM_MAX)
    }

    /// A claim of `asked` records brought these.
    pub(super) fn claimed(&mut self, end: End, asked: usize, records: Vec<Record>) {
        for record in &records {
            // The largest lately: where there is one large body, more may follow.
            let bytes = (record.body.len() as f64).max(256.0);
            self.body_bytes = bytes.max(self.body_bytes * 0.98);
        }
        let is_full = records.len() >= asked;
        if end == End::Oldest {
            self.has_backlog = is_full;
        }
        if !is_full {
            // A hint that came while the claim was out may be about a record that it missed.
            self.may_have_more = self.was_hinted;
        }
        let claimed = self.end(end);
        claimed.is_claiming = false;
        claimed.records.extend(records);
    }

    /// From which end to probe next: a new record first, an old one then.
    pub(super) fn probe_end(&mut self) -> End {
        self.probes += 1;
        if self.probes % 2 == 1 { End::Newest } else { End::Oldest }
    }

    /// Gives up all claimed records that are not on their way.
    pub(super) fn release(&mut self) -> impl Iterator<Item = Record> + '_ {
        self.may_have_more = true;
        self.oldest.records.drain(..).chain(self.newest.records.drain(..))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use revenium_store::Seq;

    use super::*;

    fn records(seqs: impl IntoIterator<Item = u64>, bytes: usize) -> Vec<Record> {
        let record = |seq| Record {
            seq: Seq(seq),
            lane: lane(),
            key: "k".into(),
            body: Bytes::from(vec![0; bytes]),
            received_at_ms: 0,
            attempts: 0,
            first_attempt_at_ms: 0,
        };
        seqs.into_iter().map(record).collect()
    }

    fn lane() -> Lane {
        Lane { profile: "p".into(), route: 0 }
    }

    #[test]
    fn a_backlog_shares_every_fourth_place_with_the_newest() {
        let mut queue = LaneQueue::new(lane(), 0);
        assert_eq!(queue.claim(8), None, "nothing is known to wait");
        queue.hint();
        assert_eq!(queue.claim(8), Some((End::Oldest, 8)));
        assert_eq!(queue.claim(8), None, "one claim at a time, and no backlog known");
        queue.claimed(End::Oldest, 8, records(0..8, 100));
        assert_eq!(queue.claim(8), Some((End::Newest, 2)));
        queue.claimed(End::Newest, 2, records([99, 98], 100));
        let taken: Vec<u64> = std::iter::from_fn(|| queue.take()).map(|record| record.seq.0).collect();
        assert_eq!(taken, [0, 1, 2, 99, 3, 4, 5, 98, 6, 7]);
    }

    #[test]
    fn a_lane_that_gave_less_than_asked_is_not_asked_again_until_there_may_be_more() {
        let mut queue = LaneQueue::new(lane(), 0);
        queue.hint();
        assert_eq!(queue.claim(8), Some((End::Oldest, 8)));
        queue.claimed(End::Oldest, 8, records(0..3, 100));
        assert_eq!(queue.claim(8), None);
        queue.hint();
        assert_eq!(queue.claim(8), Some((End::Oldest, 8)), "refilled before it runs dry");
        queue.claimed(End::Oldest, 8, records(3..11, 100));
        assert_eq!(queue.claim(8), Some((End::Newest, 2)));
        assert_eq!(queue.claim(8), None, "both ends are claiming or full");
        queue.hint();
        queue.claimed(End::Newest, 2, vec![]);
        assert_eq!(queue.claim(8), Some((End::Newest, 2)), "hinted while the claim was out");
    }

    #[test]
    fn large_bodies_are_claimed_few_at_a_time() {
        let mut queue = LaneQueue::new(lane(), 0);
        assert_eq!(queue.claim_max(10_000), 32);
        queue.claimed(End::Oldest, 1, records([0], 1 << 20));
        assert_eq!(queue.claim_max(10_000), 2);
        queue.claimed(End::Oldest, 500, records(0..500, 0));
        assert_eq!((queue.claim_max(10_000), queue.claim_max(5), queue.claim_max(0)), (CLAIM_MAX, 5, 1));
    }

    #[test]
    fn released_records_are_all_that_were_claimed() {
        let mut queue = LaneQueue::new(lane(), 0);
        queue.claimed(End::Oldest, 2, records(0..2, 1));
        queue.claimed(End::Newest, 1, records([9], 1));
        assert_eq!(queue.release().count(), 3);
        assert!(queue.is_empty() && queue.may_have_more);
    }
}
