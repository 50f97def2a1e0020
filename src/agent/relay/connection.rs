//! One connection: requests after each other, and the task that appends what they bring.
//!
//! A request's record is appended by the connection's task, not by the request's own future, which
//! hyper drops when the client goes away: what was received whole is stored all the same.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::handler::{Desk, Job};
use super::server::Place;
use crate::queue::Queue;
use crate::tasks::Stop;

/// Serves one connection to its end, its eviction, or a stop.
pub(super) async fn serve<Q: Queue>(
    queue: Arc<Q>,
    desk: Arc<Desk>,
    stream: TcpStream,
    place: Place,
    stop: Stop,
) {
    // Answers are small and each is waited for. Without it they come later, not wrong.
    let _ = stream.set_nodelay(true);
    let limits = desk.settings().limits.clone();
    let (jobs_in, mut jobs) = mpsc::channel(1);
    let service = service_fn(|request: Request<Incoming>| {
        let (desk, jobs, is_busy, stop) = (&desk, &jobs_in, place.busy(), &stop);
        async move {
            let mut answer = desk.answer(jobs, request).await;
            if stop.is_requested() {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(is_busy);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time_max)
        .max_buf_size(limits.head_bytes_max)
        .max_headers(limits.headers_max)
        // A client that has sent its last request may say so and still read the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut appending: Option<Appending<'_>> = None;
    {
        let mut connection = pin!(connection);
        let mut stop = stop.clone();
        let mut stopping = pin!(async move {
            stop.requested().await;
            // Requests that were on their way when the stop came are still taken.
            sleep(limits.stop_linger).await;
        });
        let mut is_stopping = false;
        loop {
            tokio::select! {
                biased;
                () = finished(&mut appending) => appending = None,
                Some(job) = jobs.recv(), if appending.is_none() => appending = Some(append(&*queue, &desk, job)),
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection broke off");
                    }
                    break;
                }
                () = place.evicted() => break,
                () = &mut stopping, if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
    // Its sender is gone; what it sent is stored all the same.
    while let Ok(job) = jobs.try_recv() {
        finished(&mut appending).await;
        appending = Some(append(&*queue, &desk, job));
    }
    if appending.is_some() {
        finished(&mut appending).await;
    }
}

type Appending<'q> = Pin<Box<dyn Future<Output = ()> + Send + 'q>>;

/// Returns once what is under way is done; with nothing under way, never.
async fn finished(appending: &mut Option<Appending<'_>>) {
    match appending {
        Some(appending) => appending.await,
        None => std::future::pending().await,
    }
}

fn append<'q, Q: Queue>(queue: &'q Q, desk: &'q Desk, job: Job) -> Appending<'q> {
    Box::pin(async move {
        let since = Instant::now();
        let appended = queue.append(vec![job.record]).await;
        desk.observer().appended(1, since.elapsed());
        // A request that nobody waits for any more.
        let _ = job.done.send(appended);
    })
}
