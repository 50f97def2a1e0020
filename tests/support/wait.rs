//! Waiting for what must come true.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Far more than anything waited for takes, on a machine that is busy with other tests.
pub(crate) const AT_MOST: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `holds`, and returns what was seen then.
pub(crate) fn until<T: Debug>(what: &str, mut look: impl FnMut() -> T, holds: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + AT_MOST;
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "in vain: {what}; last seen: {seen:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}
