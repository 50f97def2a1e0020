//! The relay's listener.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;

use super::connection;
use super::handler::Desk;
use super::settings::Settings;
use crate::intake::Observer;
use crate::queue::Queue;
use crate::tasks::Stop;
use crate::web::{self, Listening, Waiting};

/// Serves `listener` until told to stop, then reads what is on its way, answers, and closes.
///
/// Connections that are not done at `stop_max` are cut off; their requests were not answered.
pub async fn serve<Q: Queue>(
    listener: TcpListener,
    waiting: Waiting,
    queue: Arc<Q>,
    settings: Settings,
    observer: Arc<dyn Observer>,
    stop: Stop,
    stop_max: Duration,
) {
    let connections_max = settings.limits.connections_max;
    let listening = Listening { listener, waiting, name: "relay", connections_max, stop_max };
    let desk = Arc::new(Desk::new(queue, settings, observer.clone()));
    web::serve(listening, observer, stop, |stream, place, stop| {
        connection::serve(desk.clone(), stream, place, stop)
    })
    .await;
}
