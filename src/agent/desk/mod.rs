//! What a person asks of a running agent: dead letters, claims of unknown keys, whether all is out.
//!
//! Works on the log and knows nothing of how it is asked; `admin` carries requests in and answers
//! out. One change at a time, each on a thread that may block and to its end, whether or not the
//! asker still listens: so no letter is looked at while it is being retried, and none is sent twice.

mod api;
mod books;
mod claims;
mod error;
mod filter;
mod flush;
mod letters;
mod retry;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use api::{
    Answer, BooksAnswer, Claimed, Done, Failed, FlushAnswer, FlushRequest, LaneCounts, Letter,
    LettersRequest, Page, Waits, Warned,
};
pub use claims::{CLAIMS_MAX, ClaimMap, ClaimRequest, Claims, is_unknown_key};
pub use error::{DeskError, Trouble};
pub use filter::Filter;
use revenium_store::Store;

use crate::tasks;

/// For the index to follow what is durable; it takes milliseconds unless it is made anew.
const FOLLOW_TIME_MAX: Duration = Duration::from_secs(1);

/// For what was asked to become durable.
const DURABLE_TIME_MAX: Duration = Duration::from_secs(10);

/// The desk. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    store: Arc<Store>,
    /// The configured profiles' names.
    profiles: Arc<[Arc<str>]>,
    claims: Arc<Claims>,
    /// Held by whoever changes something.
    turn: Arc<Mutex<()>>,
}

impl Desk {
    /// A desk for the records of `store`, with these profiles configured.
    pub fn new(store: Arc<Store>, profiles: Vec<Arc<str>>, claims: Arc<Claims>) -> Self {
        Self { store, profiles: profiles.into(), claims, turn: Arc::default() }
    }

    /// Returns once the index has followed what is durable now, or after a second. Cancel-safe.
    pub async fn followed(&self) {
        let store = self.store.clone();
        // Whoever asked is told what there is.
        let _ = tasks::blocking(move || store.wait_followed(FOLLOW_TIME_MAX)).await;
    }

    /// Does what is asked of dead letters. Dropping the future does not end what was begun.
    pub async fn letters(&self, request: LettersRequest) -> Result<Answer, DeskError> {
        self.blocking(move |desk| desk.answer(&request)).await
    }

    /// Claims an unknown key for a profile; durable once it is answered.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Claimed, DeskError> {
        self.blocking(move |desk| {
            let _turn = desk.turn.lock().unwrap_or_else(PoisonError::into_inner);
            desk.claims.claim(&desk.store, &request)
        })
        .await
    }

    /// Says what still waits of what was durable when it was first asked.
    pub async fn flush(&self, request: FlushRequest) -> Result<FlushAnswer, DeskError> {
        self.blocking(move |desk| flush::look(&desk.store, &request)).await
    }

    /// Says what it counts of each profile and kind.
    pub async fn books(&self) -> Result<BooksAnswer, DeskError> {
        self.blocking(move |desk| books::look(&desk.store)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, DeskError> {
        let desk = self.clone();
        tasks::blocking(move || work(&desk)).await.unwrap_or(Err(DeskError::Stopping))
    }

    /// Sees to it that the index knows all that is durable.
    fn follow(&self) -> Result<(), DeskError> {
        if self.store.wait_followed(FOLLOW_TIME_MAX) { Ok(()) } else { Err(DeskError::NotReady) }
    }
}
