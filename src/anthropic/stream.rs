//! A streamed answer, read as it passes: what it says, and when it began to say it.
//!
//! | event | what is taken |
//! |---|---|
//! | `message_start` | id, model and usage |
//! | the first `content_block_delta` | that it came: the time to the first token |
//! | `message_delta` | the stop reason; each member of its usage overwrites the earlier one, nothing is summed, `null` overwrites nothing |
//! | `message_stop` | that the answer is whole |
//! | `error` | its type |
//! | any other | nothing |
//!
//! Its counts are running totals, so the last is right, and a vendor that states zeros first and
//! everything last comes out right. An answer is whole only with its `message_stop`, because several
//! `message_delta` may come. An event that matters and cannot be read makes it a cut one: it is not said to
//! be whole on half of what was told.

use std::time::Duration;

use crate::members::{Members, Writer, boxed};
use crate::response::{Ended, Failure, Response};
use crate::sse::{Data, Sse};

/// Most bytes of a stream's usage, all members together; a member beyond it is not kept.
// As much as one event may bring, so that no answer that is taken in one piece is refused in many.
const USAGE_BYTES_MAX: usize = crate::sse::DATA_BYTES_MAX;

/// Who ended a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// This side: the application stopped reading, or went away.
    Client,
    /// The other side, or the network between.
    Server,
}

/// A streamed answer in the making. Holds at most some 800 KiB, and a few hundred bytes as a rule.
#[derive(Debug, Default)]
pub struct Stream {
    sse: Sse,
    told: Told,
}

/// What the stream has told so far.
#[derive(Debug, Default)]
struct Told {
    response: Response,
    usage: Vec<(String, String)>,
    failure: Option<Failure>,
    has_stopped: bool,
    is_damaged: bool,
}

impl Stream {
    /// A stream of which nothing came yet.
    pub fn new() -> Stream {
        Stream::default()
    }

    /// Takes the next bytes of the body, in whatever split they come. `elapsed` is what a monotonic
    /// clock has measured since the request was sent.
    pub fn push(&mut self, bytes: &[u8], elapsed: Duration) {
        self.sse.push(bytes, &mut |name, data| self.told.take(name, &data, elapsed));
    }

    /// What the stream said in all. `by` counts only if it ended before its end.
    pub fn finish(self, elapsed: Duration, by: By) -> Response {
        let Stream { sse, mut told } = self;
        sse.finish(&mut |name, data| told.take(name, &data, elapsed));
        let ended = match (told.failure, by) {
            (Some(failure), _) => Ended::Error(failure),
            (None, _) if told.has_stopped && !told.is_damaged => Ended::Complete,
            (None, By::Client) if !told.has_stopped => Ended::Cancelled,
            (None, _) => Ended::Cut,
        };
        let mut usage = Writer::default();
        told.usage.iter().for_each(|(name, raw)| usage.put(name, raw));
        let usage = usage.finish().and_then(|usage| boxed(&usage));
        Response { usage, ended, ..told.response }
    }
}

impl Told {
    fn take(&mut self, name: &[u8], data: &Data<'_>, elapsed: Duration) {
        let Data::Whole(data) = data else { return self.skim(name, elapsed) };
        let data = String::from_utf8_lossy(data);
        let Some(event) = Members::read(&data) else { return self.skim(name, elapsed) };
        // What the data says it is counts, as in the provider's own SDKs; its name only tells what to hold.
        let said = event.text("type");
        match said.as_deref().map_or(name, str::as_bytes) {
            b"message_start" => match event.object("message") {
                Some(message) => self.start(&message),
                None => self.is_damaged = true,
            },
            b"message_delta" => self.change(&event),
            b"content_block_delta" => self.begin(elapsed),
            b"message_stop" => self.has_stopped = true,
            b"error" => self.failure = Some(Failure::of(Some(&event))),
            _ => {}
        }
    }

    /// An event whose data was not held, or is no object.
    fn skim(&mut self, name: &[u8], elapsed: Duration) {
        match name {
            b"content_block_delta" => self.begin(elapsed),
            b"error" => self.failure = Some(Failure::default()),
            b"message_start" | b"message_delta" => self.is_damaged = true,
            _ => {}
        }
    }

    fn start(&mut self, message: &Members<'_>) {
        let ttft = self.response.time_to_first_token_ms;
        self.response = Response { time_to_first_token_ms: ttft, usage: None, ..Response::of(message) };
        self.overwrite(message);
    }

    fn change(&mut self, event: &Members<'_>) {
        if let Some(reason) = event.object("delta").and_then(|delta| delta.text("stop_reason")) {
            self.response.stop_reason = Some(reason);
        }
        self.overwrite(event);
    }

    fn overwrite(&mut self, of: &Members<'_>) {
        let Some(raw) = of.get("usage") else { return };
        let Some(usage) = Members::read(raw) else { return self.is_damaged = true };
        for (name, raw) in usage.iter() {
            self.put(name, raw);
        }
    }

    fn put(&mut self, name: &str, raw: &str) {
        let held = self.usage.iter().map(|(name, raw)| name.len() + raw.len()).sum::<usize>();
        if held + name.len() + raw.len() > USAGE_BYTES_MAX {
            self.is_damaged = true;
            return;
        }
        match self.usage.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => raw.clone_into(value),
            None => self.usage.push((name.to_owned(), raw.to_owned())),
        }
    }

    fn begin(&mut self, elapsed: Duration) {
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        self.response.time_to_first_token_ms.get_or_insert(ms);
    }
}
