//! One connection: lines in, records to the queue, answers out, on one task.
//!
//! Reading does not wait for the disk: while batches are being flushed the next ones are read,
//! parsed and handed over, within bounds on their number and bytes. Whoever does not read its
//! answers is not read from; after a time its answers are dropped, and what it has sent is
//! still taken. So it is when it vanishes: an application that is killed loses nothing that the
//! kernel took from it. Nothing is answered `ok` before its append has returned.
//!
//! Stopping shuts the socket for reading first: the sender can add nothing from then on, and
//! what it had sent before is read, appended and answered. Over TCP nothing keeps a sender from sending; what had
//! come by then is read, and for half a second what comes right after it, so that no guest holds a stop up.

mod deadline;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use revenium_event::limits::LINE_BYTES_MAX;
use tokio::io::ReadBuf;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::answers::Answers;
use super::batch::Batch;
use super::door::Door;
use super::flight::{Append, Flight, Flights};
use super::line_buffer::{LineBuffer, Step};
use super::observer::Observer;
use super::seat::Seat;
use super::session::{Desk, Flow, Session};
use super::settings::Limits;
use super::wire::Wire;
use crate::queue::{NewRecord, Queue};

/// What all connections share.
pub(super) struct Shared<Q> {
    pub(super) queue: Arc<Q>,
    pub(super) door: Door,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) limits: Limits,
    /// Room for bodies in flight, in units of [`BUDGET_UNIT_BYTES`].
    pub(super) budget: Semaphore,
}

/// A semaphore counts in u32; a byte each would be too fine for it.
pub(super) const BUDGET_UNIT_BYTES: usize = 1024;

/// How long a sender that is shut out is still read from, beyond what had come from it.
const LATE_MAX: Duration = Duration::from_millis(500);

/// Serves one connection to its end, and gives its stream back. `begun` are bytes that were read from it already.
pub(super) async fn serve<Q: Queue, W: Wire>(
    shared: &Shared<Q>,
    stream: W,
    begun: &[u8],
    seat: Seat,
    stop: impl Future<Output = ()> + Send + 'static,
) -> W {
    let mut connection = Connection::new(shared, stream, begun, seat, Box::pin(stop));
    poll_fn(|cx| connection.poll(cx)).await;
    connection.stream
}

struct Connection<'q, Q, W> {
    shared: &'q Shared<Q>,
    stream: W,
    seat: Seat,
    input: Input,
    lines: LineBuffer,
    session: Session,
    building: VecDeque<Batch>,
    flights: Flights<'q>,
    answers: Answers,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_stopping: bool,
    /// Of a sender that is shut out: what is still read from it.
    rest: Option<Rest>,
    /// The user's pace: nothing is read before.
    throttled_until: Option<Instant>,
    is_held_back: bool,
    /// Of a patient sender that was read from: nothing is read before, and what comes wakes nobody.
    left_until: Option<Instant>,
    /// When the last byte came, or when we were last not ready for one.
    read_at: Instant,
    alarm: Alarm,
}

/// What is read from a sender that is shut out: so many bytes, and more until then.
#[derive(Debug, Clone, Copy)]
struct Rest {
    bytes: u64,
    until: Instant,
}

/// How long a patient sender that was read from is left.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Bytes read and handled in one turn, about a millisecond of work; then others have theirs.
const TURN_BYTES: usize = 256 * 1024;

/// What came of looking for lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// There was none, or no room for one.
    None,
    /// As many as fit into a batch.
    Part,
    /// All that were there.
    All,
}

/// How far the sender's side has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// More may come.
    Open,
    /// Nothing more comes; what is buffered is still to be taken.
    Ended,
    /// All that will be taken is taken.
    Done,
}

impl<'q, Q: Queue, W: Wire> Connection<'q, Q, W> {
    fn new(
        shared: &'q Shared<Q>,
        stream: W,
        mut begun: &[u8],
        seat: Seat,
        stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> Self {
        let now = Instant::now();
        let mut lines = LineBuffer::new(LINE_BYTES_MAX);
        while !begun.is_empty() {
            let room = lines.room();
            let (some, rest) = begun.split_at(room.len().min(begun.len()));
            room[..some.len()].copy_from_slice(some);
            lines.filled(some.len());
            begun = rest;
        }
        Self {
            shared,
            stream,
            seat,
            input: Input::Open,
            lines,
            session: Session::new(),
            building: VecDeque::new(),
            flights: Flights::default(),
            answers: Answers::new(now),
            stop,
            is_stopping: false,
            rest: None,
            throttled_until: None,
            is_held_back: false,
            left_until: None,
            read_at: now,
            alarm: Alarm::default(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        self.heed_stop(now, cx);
        self.flights.poll(cx);
        self.heed_time(now, cx);
        let mut bytes_read = 0;
        loop {
            self.land(now);
            self.answers.send(&mut self.stream, cx, now);
            if self.is_done() {
                return Poll::Ready(());
            }
            match self.take_lines(now, cx) {
                Taken::Part => break cx.waker().wake_by_ref(),
                Taken::All if bytes_read >= TURN_BYTES => break cx.waker().wake_by_ref(),
                Taken::All => continue,
                Taken::None => {}
            }
            match self.read(now, cx) {
                Some(count) => bytes_read += count,
                None => break,
            }
        }
        self.alarm.set(self.due(now), now, cx);
        Poll::Pending
    }

    fn is_done(&self) -> bool {
        self.input == Input::Done && self.flights.is_empty() && self.answers.is_empty()
    }

    fn heed_stop(&mut self, now: Instant, cx: &mut Context<'_>) {
        if !self.is_stopping && self.stop.as_mut().poll(cx).is_ready() {
            self.is_stopping = true;
            self.throttled_until = None;
            self.close_to_more(now);
        }
    }

    /// Lets the sender add nothing; what it has sent can still be read.
    fn close_to_more(&mut self, now: Instant) {
        self.stream.shut_out();
        let bytes = rustix::io::ioctl_fionread(&self.stream).unwrap_or(0);
        self.rest.get_or_insert(Rest { bytes, until: now + LATE_MAX });
    }

    /// Says what the landed batches came to.
    fn land(&mut self, now: Instant) {
        while let Some((flight, landing)) = self.flights.landed() {
            let observer = &*self.shared.observer;
            if flight.records > 0 {
                observer.appended(flight.records, now.saturating_duration_since(flight.since));
            }
            flight.receipt.answer(landing, self.answers.out(now), observer);
        }
    }

    /// Hands over the lines that are there, up to a batch of them.
    fn take_lines(&mut self, now: Instant, cx: &mut Context<'_>) -> Taken {
        if self.input == Input::Done || !self.may_take(now) {
            return Taken::None;
        }
        let (lines, taken) = self.build(now);
        self.hand_over(now, cx);
        self.lines.shrink(false);
        if lines > 0 && !self.is_stopping {
            let wait = self.seat.lines(lines, now);
            if !wait.is_zero() {
                self.shared.observer.throttled();
                self.throttled_until = now.checked_add(wait);
            }
        }
        taken
    }

    /// Takes lines from the buffer until a batch is full or no line is left; returns how many.
    fn build(&mut self, now: Instant) -> (u32, Taken) {
        let Shared { door, observer, limits, .. } = self.shared;
        let now_ms = unix_ms();
        let desk = Desk { door, seat: &self.seat, observer: &**observer, now, now_ms };
        let mut lines = 0;
        loop {
            let is_full = self.building.back().is_some_and(|batch| {
                batch.lines() >= limits.batch_lines_max || batch.bytes() >= limits.batch_bytes_max
            });
            if is_full || self.flights.count() + self.building.len() > limits.in_flight_batches_max {
                return (lines, Taken::Part);
            }
            let flow = match self.lines.next() {
                Some(Step::Line(line)) => self.session.line(line, &desk, &mut self.building),
                Some(Step::TooLong(start)) => self.session.too_long(start, &desk, &mut self.building),
                None if self.input == Input::Ended => {
                    let rest = self.lines.take_rest();
                    // Cut off by our stop, half a line is not the sender's mistake.
                    if !self.is_stopping || is_json(rest) {
                        let _ = self.session.line(rest, &desk, &mut self.building);
                    }
                    Flow::End
                }
                None => return (lines, if lines == 0 { Taken::None } else { Taken::All }),
            };
            lines += 1;
            if flow == Flow::End {
                self.input = Input::Done;
                return (lines, Taken::All);
            }
        }
    }

    /// Gives what was built to the queue.
    fn hand_over(&mut self, now: Instant, cx: &mut Context<'_>) {
        while let Some(batch) = self.building.pop_front() {
            let bytes = batch.bytes();
            let (records, receipt) = batch.close();
            let count = records.len();
            let append: Option<Append<'q>> =
                (count > 0).then(|| Box::pin(append(self.shared, records, bytes)) as Append<'q>);
            self.flights.start(Flight::new(append, receipt, count, bytes, now), cx);
        }
    }

    /// Reads once; returns how many bytes, none at the end. `None` if nothing came, or nothing may.
    fn read(&mut self, now: Instant, cx: &mut Context<'_>) -> Option<usize> {
        if self.input != Input::Open
            || !self.may_take(now)
            || self.left_until.is_some_and(|until| now < until)
        {
            return None;
        }
        if self.rest.is_some_and(|rest| rest.bytes == 0 && now >= rest.until) {
            self.input = Input::Ended;
            return Some(0);
        }
        // An idle connection waits without a buffer.
        if self.lines.bytes_held() == 0 && self.stream.poll_readable(cx).is_pending() {
            return self.nothing_came(now);
        }
        let mut room = ReadBuf::new(self.lines.room());
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        match read {
            Poll::Pending => return self.nothing_came(now),
            Poll::Ready(Ok(())) if count > 0 => {
                self.lines.filled(count);
                self.read_at = now;
                if let Some(rest) = &mut self.rest {
                    rest.bytes = rest.bytes.saturating_sub(count as u64);
                }
            }
            // The end, or a sender that vanished leaving answers unread; all it sent was read before.
            Poll::Ready(_) => self.input = Input::Ended,
        }
        Some(count)
    }

    /// Of a sender that is shut out that is the end, once what had come is read. A patient one is left for a while if
    /// something had come just now, else watched.
    fn nothing_came(&mut self, now: Instant) -> Option<usize> {
        if let Some(rest) = self.rest {
            let is_over = rest.bytes == 0;
            return is_over.then(|| {
                self.input = Input::Ended;
                0
            });
        }
        let has_come = self.read_at == now;
        if has_come && self.session.is_patient() && self.stream.leave() {
            self.left_until = Some(now + LOOK_EVERY);
        } else if self.left_until.is_some() {
            // Watched, it wakes us only once it was found empty: another look is due.
            let is_watched = self.stream.watch();
            self.left_until = (!is_watched).then_some(now + LOOK_EVERY);
            return is_watched.then_some(0);
        }
        None
    }

    /// Whether there is room for another batch, and its sender's pace allows it.
    fn may_take(&mut self, now: Instant) -> bool {
        if self.throttled_until.is_some() {
            return false;
        }
        let limits = &self.shared.limits;
        let has_room = self.flights.count() < limits.in_flight_batches_max
            && self.flights.bytes() < limits.in_flight_bytes_max
            && self.answers.bytes_waiting() < limits.answer_bytes_max
            // One batch waits for its part of the common room; with it landing we are woken.
            && (self.flights.is_empty() || self.shared.budget.available_permits() > 0);
        match (self.is_held_back, has_room) {
            (false, false) => self.shared.observer.held_back(),
            (true, true) => self.read_at = now,
            _ => {}
        }
        self.is_held_back = !has_room;
        has_room
    }
}

/// Appends within the room that all connections share.
async fn append<Q: Queue>(
    shared: &Shared<Q>,
    records: Vec<NewRecord>,
    bytes: usize,
) -> super::flight::Landing {
    let all = shared.limits.in_flight_bytes_total_max / BUDGET_UNIT_BYTES;
    let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES).min(all)).unwrap_or(u32::MAX);
    // Never closed; without a permit the bound would be broken, not an event.
    let _permit = shared.budget.acquire_many(units).await;
    shared.queue.append(records).await
}

fn is_json(line: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
