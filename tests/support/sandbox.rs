//! The stand-in for Revenium as a process, and its journal: the oracle of what was delivered.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};

use revenium_agent::sandbox::{Entry, What, read_journal};

use super::wait::until;

/// A running stand-in; it ends with this value, or with the test that holds it.
pub(crate) struct Sandbox {
    child: Child,
    address: String,
    journal: PathBuf,
}

/// What was billed: every record's body by its Idempotency-Key.
pub(crate) type Billed = BTreeMap<String, String>;

/// A loopback address where nothing listens and that no other test is given, for a stand-in that
/// comes later.
pub(crate) fn unused_address() -> String {
    static GIVEN: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{}:4790", high | 0x80, GIVEN.fetch_add(1, Ordering::Relaxed))
}

impl Sandbox {
    /// Starts one that appends to `journal`, with more arguments.
    pub(crate) fn start(journal: &Path, args: &[&str]) -> Self {
        Self::start_on("127.0.0.1:0", journal, args)
    }

    /// Starts one on an address.
    pub(crate) fn start_on(address: &str, journal: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revenium-agent"));
        command.args(["sandbox", "--with-stdin", "--listen", address, "--journal-bodies", "--journal"]);
        command.arg(journal).args(args).env_clear();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("says where it listens");
        let said: serde_json::Value = serde_json::from_str(&line).expect("is JSON");
        let address = said["sandbox"].as_str().expect("an address").to_owned();
        Self { child, address, journal: journal.to_owned() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn entries(&self) -> Vec<Entry<'static>> {
        read_journal(&self.journal).expect("a journal")
    }

    pub(crate) fn count(&self, what: What) -> usize {
        self.entries().iter().filter(|entry| entry.what == what).count()
    }

    /// What was billed so far. Fails if a key was billed twice.
    pub(crate) fn billed(&self) -> Billed {
        let mut billed = Billed::new();
        for entry in self.entries().into_iter().filter(|entry| entry.what == What::Billed) {
            let key = entry.key.expect("has an Idempotency-Key").into_owned();
            let body = entry.body.expect("asked for").into_owned();
            assert_eq!(billed.insert(key.clone(), body), None, "{key} was billed twice");
        }
        billed
    }

    /// Returns once so many records are billed, or more; then fails if it is more.
    pub(crate) fn wait_billed(&self, records: usize) -> Billed {
        until("records billed", || self.count(What::Billed), |count| *count >= records);
        let billed = self.billed();
        assert_eq!(billed.len(), records);
        billed
    }

    /// Fails unless every attempt of a key had the same bytes.
    pub(crate) fn assert_attempts_are_alike(&self) {
        let mut bodies: BTreeMap<String, String> = BTreeMap::new();
        for entry in self.entries().into_iter().filter(|entry| entry.what == What::Attempt) {
            let Some(key) = entry.key else { panic!("an attempt without a key: {:?}", entry.body_hash) };
            let hash = entry.body_hash.into_owned();
            let first = bodies.entry(key.clone().into_owned()).or_insert_with(|| hash.clone());
            assert_eq!(*first, hash, "the bytes of {key} changed");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Errors if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
