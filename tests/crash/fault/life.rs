//! One case: a life that is struck, a recovery that may be killed as well, and a life in peace; then the oracle.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use revenium_agent::admin;
use revenium_event::spool::file_name;
use rustix::process::Signal;
use serde_json::Value;

use super::case::{Case, Strike, What};
use super::place::Place;
use super::seed::{BULK_BYTES, STORE, Seed, has_segment, source};
use super::strace::{self, Trace};
use crate::dice::Dice;
use crate::event::Identity;
use crate::oracle::{self, Equals};
use crate::producer::{Book, Fate, Producer, Promise};
use crate::stage::Stage;
use crate::support::{Ended, Home, Sandbox, names, spool_files, until};

/// New events: small ones, and then large ones, one by one, until they need another segment.
const SMALL: u64 = 40;
const BULK_MAX: u64 = 12;
/// Spool files, and events in each.
const FILES: u64 = 2;
const OF_FILE: u64 = 20;
/// The segment that is written when a case begins.
const SECOND: u64 = 2;
/// For the segment that is to be moved to be gone. Not all that can be struck leaves it to be.
const MOVING_MAX: Duration = Duration::from_secs(3);
const LOOK_EACH: Duration = Duration::from_millis(10);
/// strace counts the calls of each thread: so many failed ones are of as many threads.
const IN_VAIN: u64 = 5;
/// The one before, the one that could not be opened, and the one that is being made.
const INDEX_FOLDERS_MAX: usize = 3;
/// How an agent may end by itself: the disk or a socket failed, for now, or what it was told cannot be read.
const CODES: [i32; 4] = [1, 74, 75, 78];
/// What the loader ends with when it cannot open a library. That is before any of our code.
const NO_LIBRARY: i32 = 127;

/// What came of a case.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) place: Option<Place>,
    pub(crate) then: Option<Place>,
    pub(crate) injected: u64,
    pub(crate) bytes_lost: u64,
    pub(crate) code: Option<i32>,
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// What lives do in which nothing goes wrong: with the index, and with none.
pub(crate) fn map(seed: &Seed) -> Vec<(bool, Trace)> {
    let map = [false, true].map(|loses_index| {
        let mut world = World::new("the map".into(), seed, loses_index);
        let (ended, trace) = world.live(None);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        world.judge(seed);
        (loses_index, trace)
    });
    map.into()
}

pub(crate) fn run(case: &Case, seed: &Seed) -> Came {
    let mut world = World::new(case.to_string(), seed, case.loses_index);
    let (ended, trace) = world.live(Some((case.what, case.strike)));
    let place = trace.struck(case.strike, case.loses_index);
    case.assert_ended(place.is_some(), &ended, &trace);
    let bytes_lost = trace.lose_unkept().expect("zeroed");
    let then = case.then.and_then(|strike| {
        let (_, trace) = world.live(Some((What::Kill, strike)));
        trace.struck(strike, case.loses_index)
    });
    let refusals = world.judge(seed);
    Came { place, then, injected: trace.injected, bytes_lost, code: ended.code, refusals }
}

impl Case {
    fn assert_ended(&self, is_struck: bool, ended: &Ended, trace: &Trace) {
        let Ended { code, stderr, .. } = ended;
        // sled panics where its disk fails: that is caught.
        let bug = stderr.lines().find(|line| line.contains("panicked") && !line.contains("sled panicked"));
        assert!(bug.is_none(), "{self}: a bug: {bug:?}\n{stderr}");
        match (self.what, is_struck) {
            (What::Kill, true) => assert_eq!(*code, None, "{self}: it was not killed:\n{stderr}"),
            (What::Error(_), true) => {
                assert!(trace.injected > 0, "{self}: nothing failed");
                let is_known = code.is_some_and(|code| code == 0 || CODES.contains(&code));
                let is_loader = *code == Some(NO_LIBRARY) && stderr.contains("shared libraries");
                assert!(is_known || is_loader, "{self}: it ended with {code:?}:\n{stderr}");
            }
            (_, false) => assert_eq!(*code, Some(0), "{self}: it ended by itself:\n{stderr}"),
        }
    }
}

/// One copy of the log, with its upstream and its senders.
struct World {
    name: String,
    home: Home,
    sandbox: Sandbox,
    stage: Arc<Stage>,
    senders: Vec<JoinHandle<Book>>,
    books: Vec<Book>,
    lives: u32,
    log: String,
}

impl Drop for World {
    fn drop(&mut self) {
        // Senders that wait for an agent wait in vain.
        self.stage.fail();
        if thread::panicking() {
            let data = self.home.path("data");
            let home = data.parent().expect("has a parent");
            let kept = home.with_file_name(format!("revenium-fault-{}", self.name.replace([' ', ','], "-")));
            // The temporary folder's own end then finds nothing to remove.
            let moved = fs::rename(home, &kept);
            let _ = writeln!(
                io::stderr(),
                "{}\nrepeat with REVENIUM_FAULT_CASE={:?}; everything is kept in {} ({moved:?})",
                self.log,
                self.name,
                kept.display()
            );
        }
    }
}

impl World {
    fn new(name: String, seed: &Seed, loses_index: bool) -> Self {
        let (home, sandbox) = seed.copy();
        if loses_index {
            fs::remove_dir_all(home.path("data/store/index-0")).expect("removed");
        }
        // What is sent is the same in each case, so that its name is enough to repeat it.
        let mut dice = Dice::new(0);
        let stage = Arc::new(Stage::new([1; 2]));
        let senders = [("small", 0), ("bulk", BULK_BYTES)].into_iter().enumerate();
        let senders = senders.map(|(who, (name, filler_bytes))| {
            let source = source(name, "default", filler_bytes, &mut dice);
            Producer::new(who, source, &stage, home.socket(), dice.fork()).start()
        });
        let senders = senders.collect();
        let books = vec![seed.waiting.clone(), spool(&home, &mut dice)];
        stage.allow(&[SMALL, 0]);
        Self { name, home, sandbox, stage, senders, books, lives: 0, log: String::new() }
    }

    /// A life to its end: everything is sent and delivered, the oldest segment moved; then a stop.
    fn live(&mut self, strike: Option<(What, Strike)>) -> (Ended, Trace) {
        let url = self.sandbox.url();
        self.home.deliver_to(&self.sandbox, &format!("{STORE}profiles.other.url = \"{url}\"\n"));
        self.lives += 1;
        let path = self.home.path(&format!("trace-{}", self.lives));
        let args = ["run", "--config", "config.toml"];
        let agent = self.home.launch(&mut strace::command(&self.home, &path, strike, &args));
        let what = |what: &str| format!("{}: {what}", self.name);
        for _ in 0..=BULK_MAX {
            until(&what("all is answered"), || self.stage.is_quiet() || agent.has_ended(), |is| *is);
            if agent.has_ended() || active_segment(&self.home) > SECOND {
                break;
            }
            self.stage.allow(&[0, 1]);
        }
        // What each new thread fails at is tried again and again, and in vain.
        let fails_for_good = || strace::injected(&path) >= IN_VAIN;
        until(
            &what("all is delivered"),
            || self.is_drained() || agent.has_ended() || fails_for_good(),
            |is| *is,
        );
        let folders =
            names(&self.home.path("data/store")).iter().filter(|name| name.starts_with("index-")).count();
        assert!(folders <= INDEX_FOLDERS_MAX, "{}: {folders} folders of indexes", self.name);
        let deadline = Instant::now() + MOVING_MAX;
        while has_segment(&self.home, 1) && !agent.has_ended() && Instant::now() < deadline {
            thread::sleep(LOOK_EACH);
        }
        agent.signal(Signal::TERM);
        let ended = agent.end();
        self.log.push_str(&ended.stderr);
        (ended, Trace::read(&path))
    }

    /// Whether nothing waits but what has no key.
    fn is_drained(&self) -> bool {
        let Ok(status) = admin::ask(&self.home.path("data"), "/status") else { return false };
        let status: Value = serde_json::from_str(&status).expect("is JSON");
        let is_ready = status["waiting_for"].as_array().is_some_and(Vec::is_empty);
        // A file that was taken and could not be removed is left for the next start.
        let spooled = spool_files(&self.home.path("spool")).len();
        is_ready && status["profiles"][0]["waiting"] == 0 && status["spool"]["left_alone"] == spooled
    }

    /// A life in peace, and then the oracle. Returns how senders were refused meanwhile.
    fn judge(&mut self, seed: &Seed) -> BTreeMap<String, u64> {
        let other = format!(
            "profiles.other.url = \"{}\"\nprofiles.other.api_key_file = \"other\"\n",
            self.sandbox.url()
        );
        self.home.deliver_to(&self.sandbox, &format!("{STORE}{other}"));
        let agent = self.home.start();
        self.stage.wait_quiet();
        until("spool files are taken", || spool_files(&self.home.path("spool")), Vec::is_empty);
        let status = self.home.wait_drained();
        let ended = agent.stop();
        self.log.push_str(&ended.stderr);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.stage.finish();
        let senders = std::mem::take(&mut self.senders);
        self.books.extend(senders.into_iter().map(|sender| sender.join().expect("no panic")));
        let journal = self.sandbox.entries();
        let verdict = oracle::judge(&journal, &self.books, &Equals { marker: "none", keys: Vec::new() });
        verdict.assert_flawless();
        for name in ["lost", "damaged_regions"] {
            assert_eq!(status[name], 0, "{name}: {status}");
        }
        let sum = |name| {
            status["profiles"].as_array().map_or(0, |all| all.iter().filter_map(|p| p[name].as_u64()).sum())
        };
        let (delivered, dead): (u64, u64) = (sum("delivered"), sum("dead"));
        let ended = delivered + dead - seed.delivered - seed.dead;
        assert_eq!(ended, verdict.tried, "the ledger counts each record once: {status}");
        let dead_may_be = verdict.refused_unbilled..=verdict.refused;
        assert!(dead_may_be.contains(&(dead - seed.dead)), "{dead} dead letters: {verdict:?}");
        let mut refusals = BTreeMap::new();
        for (code, count) in self.books.iter().flat_map(|book| &book.put_off) {
            *refusals.entry(code.clone()).or_default() += count;
        }
        refusals
    }
}

/// The segment that the last commit is in, by the two slots of the watermark.
fn active_segment(home: &Home) -> u64 {
    let slots = fs::read(home.path("data/store/watermark")).expect("is there");
    let ordinal = |slot: &[u8]| u64::from_le_bytes(slot[16..24].try_into().expect("eight bytes"));
    slots.chunks_exact(64).map(ordinal).max().expect("has slots")
}

/// Spool files of an application that is gone.
fn spool(home: &Home, dice: &mut Dice) -> Book {
    let source = source("spooled", "default", 0, dice);
    let Identity::Numbered(id) = source.identity else { unreachable!("numbered") };
    let producer = revenium_event::Producer::from_bytes(id.into_bytes());
    fs::create_dir(home.path("spool")).expect("made");
    let hello = format!("{{\"hello\":{{\"v\":1,\"producer\":\"{producer}\"}}}}\n");
    for first in (0..FILES).map(|file| file * OF_FILE) {
        let mut text = hello.clone().into_bytes();
        (first..first + OF_FILE).for_each(|n| source.write_line(n, &mut text));
        fs::write(home.path("spool").join(file_name(producer, first)), text).expect("written");
    }
    let fate = |n: u64| Fate {
        promise: Promise::Spooled,
        key: Some(uuid::Uuid::new_v5(&id, n.to_string().as_bytes()).to_string()),
        ..Fate::default()
    };
    let fates = (0..FILES * OF_FILE).map(fate).collect();
    Book { fates, ..Book::new(source, "spool") }
}
