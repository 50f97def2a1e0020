//! An application with one of Revenium's SDKs, as the relay sees it: requests, each with its key, sent
//! again with the same bytes until one is answered.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dice::Dice;
use crate::event::Source;
use crate::producer::{Book, Fate, Promise, start};
use crate::stage::{DEADLINE, Stage};
use crate::support::{Answer, Http};

/// How long to wait before another try, unless something happens before.
const AGAIN_EACH: Duration = Duration::from_millis(2);
/// In so many requests, one is sent by a client that goes away without reading its answer.
const LEAVES_ONE_IN: u64 = 40;

pub(crate) struct Caller {
    who: usize,
    stage: Arc<Stage>,
    relay: String,
    /// What its paths begin with.
    base: String,
    /// The API key of its profile; without one it is for the default.
    api_key: Option<&'static str>,
    dice: Dice,
    book: Book,
    connection: Option<Http>,
}

impl Caller {
    /// One of the relay at an address, behind which there may be what its paths begin with.
    pub(crate) fn new(
        who: usize,
        source: Source,
        stage: &Arc<Stage>,
        relay: String,
        api_key: Option<&'static str>,
        dice: Dice,
    ) -> Self {
        let book = Book::new(source, "relay");
        let (relay, base) = match relay.find('/') {
            Some(at) => (relay[..at].to_owned(), relay[at..].to_owned()),
            None => (relay, String::new()),
        };
        Self { who, stage: Arc::clone(stage), relay, base, api_key, dice, book, connection: None }
    }

    /// Sends what the stage allows, one after the other, until that says it is over.
    pub(crate) fn start(self) -> JoinHandle<Book> {
        start(self.book.source.name, Arc::clone(&self.stage), move || self.run())
    }

    fn run(mut self) -> Book {
        while self.stage.has_work(self.who) {
            if self.stage.take(self.who, 1) == 0 {
                continue;
            }
            self.stage.note(self.who, 0, 1);
            if !self.call() {
                break;
            }
            self.stage.note(self.who, 1, 0);
        }
        self.book
    }

    /// One event, until it is acknowledged. False if the storm failed meanwhile.
    fn call(&mut self) -> bool {
        let n = self.book.fates.len() as u64;
        let event = self.book.source.event(n);
        let key = format!("key-of-{}", self.book.source.marker(n));
        self.book.fates.push(Fate { key: Some(key.clone()), ..Fate::default() });
        let deadline = Instant::now() + DEADLINE;
        let mut tries = 0u64;
        loop {
            self.book.resent += u64::from(tries > 0);
            tries += 1;
            self.stage.wait_there();
            match self.request(event.path, &key, &event.json) {
                Some(Answer { status: 201, body, .. }) => {
                    assert_eq!(body["id"], key.as_str(), "{}", self.book.source.name);
                    let fate = self.book.fates.last_mut().expect("was just pushed");
                    fate.promise = Promise::Acknowledged;
                    return true;
                }
                Some(Answer { status: 503, body, .. }) => {
                    let code = body["errors"][0]["code"].as_str().unwrap_or_default().to_owned();
                    *self.book.put_off.entry(code).or_default() += 1;
                }
                Some(answer) => panic!("{}: {key}: {answer:?}", self.book.source.name),
                None => {}
            }
            if self.stage.has_failed() {
                return false;
            }
            let name = self.book.source.name;
            assert!(Instant::now() < deadline, "{name}: no answer for {DEADLINE:?}");
            self.stage.pause(AGAIN_EACH);
        }
    }

    /// One try; `None` if nothing is known of what came of it.
    fn request(&mut self, path: &str, key: &str, body: &str) -> Option<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let connection = Http::try_connect(&self.relay).ok()?;
                self.book.connections += 1;
                connection
            }
        };
        let mut headers = vec![("Idempotency-Key", key)];
        headers.extend(self.api_key.map(|api_key| ("x-api-key", api_key)));
        connection.send(&format!("{}{path}", self.base), &headers, body).ok()?;
        if self.dice.one_in(LEAVES_ONE_IN) {
            return None;
        }
        let answer = connection.answer()?;
        if !answer.head.contains("connection: close") {
            self.connection = Some(connection);
        }
        Some(answer)
    }
}
