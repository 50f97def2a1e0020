//! The counts that the running process keeps, for who counts the log and compares.

use revenium_store::Store;

use super::{BooksAnswer, DeskError, FOLLOW_TIME_MAX, LaneCounts};

pub(super) fn look(store: &Store) -> Result<BooksAnswer, DeskError> {
    if !store.wait_followed(FOLLOW_TIME_MAX) {
        return Err(DeskError::NotReady);
    }
    let (place, lanes) = store.books()?;
    Ok(BooksAnswer { place, lanes: lanes.iter().map(LaneCounts::of).collect() })
}
