//! Whether all is out that was durable at some moment.

use revenium_event::Kind;
use revenium_store::Store;

use super::{DeskError, FOLLOW_TIME_MAX, FlushAnswer, FlushRequest, Waits};
use crate::queue::Seq;

/// Looks once. The moment is the one of the first request.
pub(super) fn look(store: &Store, request: &FlushRequest) -> Result<FlushAnswer, DeskError> {
    if !store.wait_followed(FOLLOW_TIME_MAX) {
        return Err(DeskError::NotReady);
    }
    let upto = match request.upto {
        Some(upto) => Seq(upto),
        None => store.followed_to()?,
    };
    let waiting = store.waiting_before(upto)?.into_iter().map(|(lane, events)| Waits {
        profile: lane.profile.to_string(),
        kind: Kind::from_code(lane.route).map_or("other", Kind::name).to_owned(),
        events,
    });
    Ok(FlushAnswer { upto: upto.0, waiting: waiting.collect() })
}
