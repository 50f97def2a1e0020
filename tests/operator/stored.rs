//! Logs with events that wait, and what may be done to their files behind the agent's back.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Ended, Home, Producer, names, unused_address};

pub(crate) const EVENTS: u64 = 400;
/// Outstanding together, and so about as many in one chunk of the log.
pub(crate) const WINDOW: u64 = 20;

/// A home whose agent cannot deliver.
pub(crate) fn home() -> Home {
    let home = Home::new();
    home.deliver_to_url(&format!("http://{}", unused_address()), "");
    home
}

/// A home whose agent took events in, and was stopped.
pub(crate) fn filled() -> Home {
    let home = home();
    let agent = home.start();
    Producer::new(1).run(&home.socket(), EVENTS, WINDOW).expect("durable");
    home.wait_status("the index has them", |status| status["profiles"][0]["waiting"] == EVENTS);
    assert_eq!(agent.stop().code, Some(0));
    home
}

/// How a command ended, and the JSON that it printed.
pub(crate) fn report(home: &Home, args: &[&str]) -> (Ended, Value) {
    let ended = home.run(args);
    let report = serde_json::from_str(&ended.stdout);
    let report = report.unwrap_or_else(|_| panic!("no report: {}", ended.stderr));
    (ended, report)
}

/// What can be done to the segment and the place where a record's bytes lie.
pub(crate) type Removal = fn(&PathBuf, u64);

pub(crate) const REMOVALS: [(&str, Removal); 4] = [
    ("no-chunk", |path, at| write(path, chunk(path, at), &[0; 64])),
    ("bodies", |path, at| write(path, at, b"\0")),
    ("no-chunk", |path, at| {
        let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
        file.set_len(chunk(path, at)).expect("cut");
    }),
    ("no-file", |path, _| fs::remove_file(path).expect("removed")),
];

/// The segment that holds the event `n`, and where in it.
pub(crate) fn find(home: &Home, n: u64) -> (PathBuf, u64) {
    let store = home.path("data/store");
    let needle = Producer::new(1).transaction(n);
    let place = |name: &String| {
        let path = store.join(name);
        let content = fs::read(&path).expect("read");
        let at = content.windows(needle.len()).position(|window| window == needle.as_bytes())?;
        Some((path, at as u64))
    };
    names(&store).iter().filter(|name| name.starts_with("seg-")).find_map(place).expect("a segment holds it")
}

/// Where the chunk begins that holds this place.
fn chunk(path: &PathBuf, at: u64) -> u64 {
    let before = &fs::read(path).expect("read")[..usize::try_from(at).expect("a place")];
    before.windows(4).rposition(|bytes| bytes == b"RVCK").expect("it has a header") as u64
}

pub(crate) fn write(path: &PathBuf, at: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("opens");
    file.write_all_at(bytes, at).expect("written");
}
