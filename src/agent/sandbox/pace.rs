//! How fast an account may go: the per-second bucket and the block after many errors.
//!
//! Revenium counts requests per account in windows of one second (`bucket-rate`) and blocks an
//! account that keeps sending broken requests for a time that doubles with every violation up to
//! an hour (`error-pattern`). The threshold of the second isn't documented: it is a parameter.
//! Pure: the caller says what time it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::clock::whole_ms;

/// When broken requests block an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorPattern {
    /// This many refused requests (4xx other than 429) ...
    pub errors: u32,
    /// ... within this time trip the block.
    pub within: Duration,
    /// The first block's length; every further one is twice as long.
    pub block_first: Duration,
    /// Where the doubling ends. An account without a violation for this long starts afresh.
    pub block_max: Duration,
}

impl Default for ErrorPattern {
    /// 50 errors in 10 s block for 30 s, then 60 s, ... up to 1 h. Lockouts from 29 s on were
    /// observed and an hour is documented; the threshold is ours.
    fn default() -> Self {
        Self {
            errors: 50,
            within: Duration::from_secs(10),
            block_first: Duration::from_secs(30),
            block_max: Duration::from_secs(3_600),
        }
    }
}

/// What the `X-RateLimit-*` headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Epoch second at which the window ends.
    pub(super) reset_s: u64,
}

/// Why a request was limited; the text of `X-RateLimit-Limited-Reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limited {
    BucketRate,
    ErrorPattern,
}

impl Limited {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::BucketRate => "bucket-rate",
            Self::ErrorPattern => "error-pattern",
        }
    }
}

/// Whether a request may go on. `quota` is absent when nothing is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Admitted { quota: Option<Quota> },
    Limited { quota: Quota, reason: Limited, retry_after_s: u64 },
}

#[derive(Debug, Default)]
struct Account {
    second: u64,
    asked_in_second: u32,
    asked_in_second_peak: u32,
    errors_since_ms: u64,
    errors: u32,
    blocked_until_ms: u64,
    block_ms: u64,
}

/// The pace of every account.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    error_pattern: Option<ErrorPattern>,
    accounts: HashMap<Arc<str>, Account>,
}

impl Pace {
    /// `per_second` 0: no limit.
    pub(super) fn new(per_second: u32, error_pattern: Option<ErrorPattern>) -> Self {
        Self { per_second, error_pattern, accounts: HashMap::new() }
    }

    /// Whether nothing is limited, so that nobody need ask.
    pub(super) fn is_free(&self) -> bool {
        self.per_second == 0 && self.error_pattern.is_none()
    }

    /// Counts a request of `account` and says whether it may go on.
    pub(super) fn admit(&mut self, account: &Arc<str>, now_ms: u64) -> Admission {
        let per_second = self.per_second;
        let state = self.accounts.entry(Arc::clone(account)).or_default();
        let second = now_ms / 1_000;
        if state.second != second {
            state.second = second;
            state.asked_in_second = 0;
        }
        state.asked_in_second = state.asked_in_second.saturating_add(1);
        state.asked_in_second_peak = state.asked_in_second_peak.max(state.asked_in_second);
        let quota = Quota {
            limit: per_second,
            remaining: per_second.saturating_sub(state.asked_in_second),
            reset_s: second + 1,
        };
        if now_ms < state.blocked_until_ms {
            let retry_after_s = (state.blocked_until_ms - now_ms).div_ceil(1_000);
            return Admission::Limited { quota, reason: Limited::ErrorPattern, retry_after_s };
        }
        if per_second > 0 && state.asked_in_second > per_second {
            return Admission::Limited { quota, reason: Limited::BucketRate, retry_after_s: 1 };
        }
        Admission::Admitted { quota: (per_second > 0).then_some(quota) }
    }

    /// Notes that a request of `account` was refused with a 4xx. Returns whether that blocked it.
    pub(super) fn refused(&mut self, account: &Arc<str>, now_ms: u64) -> bool {
        let Some(pattern) = self.error_pattern else { return false };
        let state = self.accounts.entry(Arc::clone(account)).or_default();
        if now_ms.saturating_sub(state.errors_since_ms) >= whole_ms(pattern.within) {
            state.errors_since_ms = now_ms;
            state.errors = 0;
        }
        state.errors += 1;
        if state.errors < pattern.errors {
            return false;
        }
        let block_max_ms = whole_ms(pattern.block_max);
        let is_afresh = now_ms.saturating_sub(state.blocked_until_ms) >= block_max_ms;
        state.block_ms = match state.block_ms {
            0 => whole_ms(pattern.block_first),
            _ if is_afresh => whole_ms(pattern.block_first),
            last => last.saturating_mul(2),
        }
        .min(block_max_ms);
        state.blocked_until_ms = now_ms.saturating_add(state.block_ms);
        state.errors = 0;
        true
    }

    /// The most requests an account made in one second, limited ones included.
    pub(super) fn peaks(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.accounts.iter().map(|(account, state)| (account, state.asked_in_second_peak))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn the_limit_is_admitted_and_one_more_is_not_until_the_second_is_over() {
        let mut pace = Pace::new(2, None);
        let quota = |remaining, reset_s| Quota { limit: 2, remaining, reset_s };
        let me = account("a");
        assert_eq!(pace.admit(&me, 5_000), Admission::Admitted { quota: Some(quota(1, 6)) });
        assert_eq!(pace.admit(&me, 5_999), Admission::Admitted { quota: Some(quota(0, 6)) });
        assert_eq!(
            pace.admit(&me, 5_999),
            Admission::Limited { quota: quota(0, 6), reason: Limited::BucketRate, retry_after_s: 1 }
        );
        assert_eq!(pace.admit(&me, 6_000), Admission::Admitted { quota: Some(quota(1, 7)) });
        assert_eq!(pace.peaks().map(|(_, peak)| peak).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn accounts_do_not_share_a_bucket() {
        let mut pace = Pace::new(1, None);
        assert!(matches!(pace.admit(&account("a"), 0), Admission::Admitted { .. }));
        assert!(matches!(pace.admit(&account("a"), 0), Admission::Limited { .. }));
        assert!(matches!(pace.admit(&account("b"), 0), Admission::Admitted { .. }));
    }

    #[test]
    fn without_a_limit_nothing_is_said_about_quotas() {
        let mut pace = Pace::new(0, None);
        assert!(pace.is_free());
        assert_eq!(pace.admit(&account("a"), 0), Admission::Admitted { quota: None });
    }

    fn three_errors() -> ErrorPattern {
        ErrorPattern {
            errors: 3,
            within: Duration::from_secs(10),
            block_first: Duration::from_secs(30),
            block_max: Duration::from_secs(100),
        }
    }

    /// Trips the block at `now_ms` and returns the Retry-After of the next request.
    fn trip(pace: &mut Pace, me: &Arc<str>, now_ms: u64) -> Option<u64> {
        assert!(!pace.refused(me, now_ms));
        assert!(!pace.refused(me, now_ms));
        assert!(pace.refused(me, now_ms));
        match pace.admit(me, now_ms) {
            Admission::Limited { reason: Limited::ErrorPattern, retry_after_s, .. } => Some(retry_after_s),
            _ => None,
        }
    }

    #[test]
    fn errors_block_and_the_block_doubles_up_to_its_most() {
        let mut pace = Pace::new(1_000, Some(three_errors()));
        let me = account("a");
        assert_eq!(trip(&mut pace, &me, 0), Some(30));
        assert!(matches!(pace.admit(&me, 29_999), Admission::Limited { retry_after_s: 1, .. }));
        assert!(matches!(pace.admit(&me, 30_000), Admission::Admitted { .. }));
        assert_eq!(trip(&mut pace, &me, 30_000), Some(60));
        assert_eq!(trip(&mut pace, &me, 90_000), Some(100));
        assert_eq!(trip(&mut pace, &me, 190_000), Some(100));
        assert_eq!(trip(&mut pace, &me, 290_000 + 100_000), Some(30), "a quiet hour forgives");
    }

    #[test]
    fn errors_far_apart_do_not_block() {
        let mut pace = Pace::new(0, Some(three_errors()));
        let me = account("a");
        for now_ms in [0, 1, 10_000, 10_001, 20_000] {
            assert!(!pace.refused(&me, now_ms), "{now_ms}");
        }
        assert!(matches!(pace.admit(&me, 20_000), Admission::Admitted { quota: None }));
    }
}
