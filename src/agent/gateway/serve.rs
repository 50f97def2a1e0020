//! The gateway's listener, and what meters beside it.

use std::sync::Arc;

use revenium_emitter::Emitter;
use tokio::net::TcpListener;

use super::connection;
use super::handler::Desk;
use super::meter;
use super::provider::Provider;
use super::settings::Settings;
use crate::intake::Observer;
use crate::tasks::Stop;
use crate::web::{self, Listening, Waiting};

/// Serves `listener` until told to stop; then ends idle connections, and waits for answers that are being given.
/// Events of all calls have been given to `emitter` when it returns.
pub async fn serve(
    listener: TcpListener,
    waiting: Waiting,
    provider: Provider,
    settings: Settings,
    emitter: Emitter,
    observer: Arc<dyn Observer>,
    stop: Stop,
) {
    let limits = &settings.limits;
    let (connections_max, stop_max) = (limits.connections_max, limits.stop_max);
    let listening = Listening { listener, waiting, name: "gateway", connections_max, stop_max };
    let (meter, finished) = meter::new(emitter);
    let desk = Arc::new(Desk::new(provider, settings, meter));
    let serving = web::serve(listening, observer, stop, move |stream, place, stop| {
        connection::serve(desk.clone(), stream, place, stop)
    });
    // The desk goes with the last connection, and what meters ends once nobody can finish a call any more.
    tokio::join!(serving, finished.follow());
}
