//! The gateway's listener, and what meters beside it.

use std::sync::Arc;

use revenium_emitter::Emitter;
use tokio::net::TcpListener;

use super::provider::Provider;
use super::seen::Seen;
use super::settings::Settings;
use super::{Counter, connection, handler::Desk, meter};
use crate::intake::Observer;
use crate::tasks::Stop;
use crate::web::{self, Listening, Waiting};

/// All that a gateway is made of.
pub struct Gateway {
    /// Where requests go.
    pub provider: Provider,
    /// What it is told.
    pub settings: Settings,
    /// Where events go.
    pub emitter: Emitter,
    /// Which results of batches were metered before.
    pub seen: Seen,
    /// Told of connections.
    pub observer: Arc<dyn Observer>,
    /// Told what requests came to.
    pub counter: Arc<dyn Counter>,
}

impl Gateway {
    /// Serves `listener` until told to stop; then ends idle connections, and waits for answers that are being
    /// given. Events of all calls have been given to the emitter when it returns.
    pub async fn serve(self, listener: TcpListener, waiting: Waiting, stop: Stop) {
        let Self { provider, settings, emitter, seen, observer, counter } = self;
        let limits = &settings.limits;
        let (connections_max, stop_max) = (limits.connections_max, limits.stop_max);
        let listening = Listening { listener, waiting, name: "gateway", connections_max, stop_max };
        let (meter, follower) = meter::new(&settings, emitter, counter, seen);
        let desk = Arc::new(Desk::new(provider, settings, meter));
        let serving = web::serve(listening, observer, stop, move |stream, place, stop| {
            connection::serve(desk.clone(), stream, place, stop)
        });
        // The desk goes with the last connection, and what meters ends once nobody can finish a call any more.
        tokio::join!(serving, follower.follow());
    }
}
