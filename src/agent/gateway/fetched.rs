//! Results of batches on their way to be metered, each once however often it is fetched.
//!
//! A download goes no faster than its results find room: they are many at once, events are some times their size, and
//! one that is dropped would be metered with the next download only. Nothing else waits for that.

use std::sync::Arc;
use std::time::Duration;

use revenium_anthropic::Call;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;
use tracing::debug;

use super::CameTo;
use super::meter::{Books, events_of};
use super::seen::Seen;
use crate::intake::unix_ms;
use crate::tasks::blocking;

/// Pieces of downloads whose results may wait. A download has one; more are of such as were broken off.
const PIECES_MAX: usize = 1024;

/// Bytes of events that are waited for to leave memory: a quarter of what the emitter holds. The rest is for calls.
const HELD_BYTES_MAX: u64 = 1 << 20;

/// How long they are waited for: what the agent has not answered for by half of it goes to the spool.
const ROOM_TIME_MAX: Duration = Duration::from_secs(2);

const DAY_MS: u64 = 86_400_000;

/// The results that one piece of a download brought.
pub(super) struct Piece {
    results: Vec<Call>,
    /// Dropped with the piece, once all of it is metered: its download goes on.
    _metered: oneshot::Sender<()>,
}

/// Meters results.
pub(super) struct Fetched {
    pieces: Receiver<Piece>,
    books: Arc<Books>,
    seen: Seen,
    held_bytes_max: u64,
    room_time_max: Duration,
    /// Waiting for room has helped, or was not tried yet.
    waits: bool,
}

/// A loop that meters, and the way to it.
pub(super) fn new(books: Arc<Books>, seen: Seen) -> (Sender<Piece>, Fetched) {
    let (sender, pieces) = channel(PIECES_MAX);
    let (held_bytes_max, room_time_max) = (HELD_BYTES_MAX, ROOM_TIME_MAX);
    (sender, Fetched { pieces, books, seen, held_bytes_max, room_time_max, waits: true })
}

impl Piece {
    /// One with these results; its download goes on once the receiver has an end.
    pub(super) fn new(results: Vec<Call>) -> (Self, oneshot::Receiver<()>) {
        let (sender, metered) = oneshot::channel();
        (Self { results, _metered: sender }, metered)
    }
}

impl Fetched {
    /// Meters until no download is left.
    pub(super) async fn follow(mut self) {
        while let Some(piece) = self.pieces.recv().await {
            for result in &piece.results {
                self.room().await;
                self.meter(result);
            }
        }
    }

    /// Waits until the emitter has room, or until it is clear that waiting does not help.
    async fn room(&mut self) {
        if !self.waits || self.has_room() {
            self.waits |= self.has_room();
            return;
        }
        let (emitter, time_max) = (self.books.emitter.clone(), self.room_time_max);
        blocking(move || emitter.flush(time_max)).await;
        self.waits = self.has_room();
    }

    fn has_room(&self) -> bool {
        self.books.emitter.stats().in_memory_bytes < self.held_bytes_max
    }

    fn meter(&mut self, result: &Call) {
        let id = result.response.id.clone().unwrap_or_else(|| {
            let of = |text: &Option<String>| text.clone().unwrap_or_default();
            format!("{}/{}", of(&result.batch_id), of(&result.custom_id))
        });
        let today = unix_ms() / DAY_MS;
        let unknown = |error| format!("cannot remember which results of batches were metered: {error}");
        match self.seen.knows(&id, today) {
            Ok(true) => return debug!("a result of a batch was metered before"),
            Ok(false) => {}
            Err(error) => self.books.warn(&unknown(error)),
        }
        if let Err(why) = events_of(result).and_then(|events| self.books.hand_over(events)) {
            return self.books.lost(&why);
        }
        self.books.counter.came_to(CameTo::Metered);
        // After the event: a crash between the two meters it again, under the same transactionId.
        if let Err(error) = self.seen.remember(&id, today) {
            self.books.warn(&unknown(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::task::Poll;

    use revenium_emitter::Emitter;

    use super::*;
    use crate::gateway::Counter;

    #[derive(Default)]
    struct Counts {
        metered: AtomicU64,
        lost: AtomicU64,
    }

    impl Counter for Counts {
        fn came_to(&self, what: CameTo) {
            let count = if what == CameTo::Metered { &self.metered } else { &self.lost };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn result(n: u64) -> Call {
        let line = format!(
            r#"{{"custom_id":"c-{n}","result":{{"type":"succeeded","message":{{"id":"msg_{n}","model":"m","usage":{{"input_tokens":1,"output_tokens":2}}}}}}}}"#
        );
        let outcome = revenium_anthropic::batch::read(line.as_bytes()).expect("is one");
        Call {
            response: outcome.response.expect("was made"),
            custom_id: Some(outcome.custom_id),
            ..Call::default()
        }
    }

    /// An agent that takes nothing before it is told to, and then everything.
    fn agent(socket: &std::path::Path) -> mpsc::Sender<()> {
        let listener = UnixListener::bind(socket).expect("is free");
        let (go_on, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stream = listener.accept().expect("is connected to").0;
            wait.recv().expect("is told to go on");
            for line in BufReader::new(stream.try_clone().expect("cloned")).lines().map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                if let Some(n) = line["n"].as_u64() {
                    let _ = writeln!(stream, "{{\"ok\":true,\"upto\":{n}}}");
                }
            }
        });
        go_on
    }

    #[tokio::test]
    async fn results_that_find_no_room_wait_and_so_does_their_download_and_none_is_lost() {
        const RESULTS: u64 = 300;
        let dir = tempfile::tempdir().expect("a folder");
        let go_on = agent(&dir.path().join("agent.sock"));
        let no_folder = dir.path().join("agent.sock/spool");
        let emitter = Emitter::builder().socket(dir.path().join("agent.sock")).spool(no_folder);
        let emitter = emitter.memory_bytes_max(64 << 10).build();
        let counts = Arc::new(Counts::default());
        let seen = Seen::open(dir.path().join("gateway")).expect("is free");
        let (pieces, mut fetched) = new(Arc::new(Books::new(emitter, counts.clone())), seen);
        (fetched.held_bytes_max, fetched.room_time_max) = (16 << 10, Duration::from_secs(120));
        let (piece, mut metered) = Piece::new((0..RESULTS).map(result).collect());
        assert!(pieces.try_send(piece).is_ok());
        drop(pieces);

        let mut follow = pin!(fetched.follow());
        let waits = poll_fn(|cx| Poll::Ready(follow.as_mut().poll(cx).is_pending())).await;
        let lost = counts.lost.load(Ordering::Relaxed);
        assert_eq!((waits, lost, metered.try_recv()), (true, 0, Err(oneshot::error::TryRecvError::Empty)));
        go_on.send(()).expect("waits");
        follow.await;
        assert_eq!(counts.metered.load(Ordering::Relaxed), RESULTS);
        assert_eq!(counts.lost.load(Ordering::Relaxed), 0);
        assert_eq!(metered.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
