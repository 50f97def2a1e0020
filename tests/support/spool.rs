//! Spool files as an application leaves them.

use std::fs;
use std::path::{Path, PathBuf};

use revenium_event::{Producer, spool};

use super::agent::names;
use super::socket::completion;

/// The lines of one file.
pub(crate) struct SpoolFile {
    producer: Producer,
    first: u64,
    pub(crate) text: String,
}

impl SpoolFile {
    /// One with a hello and no events.
    pub(crate) fn new(producer: u8, first: u64) -> Self {
        let producer = Producer::from_bytes([producer; 16]);
        let text = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{producer}\"}}}}\n");
        Self { producer, first, text }
    }

    /// With the events `first..first + count`.
    pub(crate) fn with_events(producer: u8, first: u64, count: u64) -> Self {
        let mut file = Self::new(producer, first);
        for n in first..first + count {
            file.event(n);
        }
        file
    }

    /// Adds an event, told apart by its `transactionId`.
    pub(crate) fn event(&mut self, n: u64) {
        let transaction = transaction(self.producer, n);
        let event = completion("spooled").replacen(
            '{',
            &format!("{{\"n\":{n},\"transactionId\":\"{transaction}\","),
            1,
        );
        self.line(&event);
    }

    /// Adds a line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// The `transactionId` of an event.
    pub(crate) fn transaction(&self, n: u64) -> String {
        transaction(self.producer, n)
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        spool::file_name(self.producer, self.first)
    }

    /// Writes it as a writer has to: under another name first.
    pub(crate) fn put(&self, dir: &Path) -> PathBuf {
        fs::create_dir_all(dir).expect("made");
        let (unfinished, path) = (dir.join(format!(".{}", self.name())), dir.join(self.name()));
        fs::write(&unfinished, &self.text).expect("written");
        fs::rename(unfinished, &path).expect("renamed");
        path
    }
}

fn transaction(producer: Producer, n: u64) -> String {
    format!("{}-{n}", &producer.to_string()[..4])
}

/// Names of finished files in a folder.
pub(crate) fn spool_files(dir: &Path) -> Vec<String> {
    names(dir).into_iter().filter(|name| spool::parse_name(name).is_some()).collect()
}
