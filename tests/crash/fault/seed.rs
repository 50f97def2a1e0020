//! The log that every case begins with: one event more than it has room for, and its oldest segment is moved,
//! recycled and begun anew.
//!
//! It is full (`store.capacity_bytes` is the least that is allowed), and of its first segment some events wait
//! for the key of another profile and some are dead letters, so that they have to be moved; all else was delivered.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revenium_agent::sandbox::{Script, Step};
use uuid::Uuid;

use crate::dice::Dice;
use crate::event::{Identity, Source};
use crate::producer::{Book, Producer};
use crate::stage::Stage;
use crate::support::{Home, KEY, OTHER_KEY, Sandbox, names};

/// Four segments, and those as small as they may be.
pub(crate) const STORE: &str = "store.capacity_bytes = \"64MiB\"\nstore.free_reserve_bytes = \"1MiB\"\n";
/// Events of this size fill a segment with two dozen of them.
pub(crate) const BULK_BYTES: usize = 900_000;
/// What the stand-in refuses for good: of the log that cases begin with, and now and then in each case.
const REFUSED: [&[u64]; 2] = [&[0, 0], &[0, 10, 10, 10, 10]];
/// In the first segment: few enough of all its events that those that are left of it are moved.
const WAITING: u64 = 12;
const SMALL: u64 = 40;
/// As many of the second segment as leave room for a few.
const BULK_OF_SECOND: u64 = 18;

pub(crate) struct Seed {
    home: Home,
    /// What waits for a key.
    pub(crate) waiting: Book,
    /// Ended in it, and never to be sent again.
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
}

impl Seed {
    pub(crate) fn make(dice: &mut Dice) -> Self {
        let home = in_memory();
        let sandbox = upstream(&home, REFUSED[0]);
        home.deliver_to(&sandbox, &format!("{STORE}profiles.other.url = \"{}\"\n", sandbox.url()));
        let stage = Arc::new(Stage::new([1; 3]));
        let start = |(who, (name, profile, filler_bytes))| {
            let source = source(name, profile, filler_bytes, dice);
            Producer::new(who, source, &stage, home.socket(), dice.fork()).start()
        };
        let sources = [("waiting", "other", 0), ("seed", "default", 0), ("seed-bulk", "default", BULK_BYTES)];
        let producers: Vec<_> = sources.into_iter().enumerate().map(start).collect();
        let agent = home.start();
        let send = |more: [u64; 3]| {
            stage.allow(&more);
            stage.wait_quiet();
        };
        send([WAITING, SMALL, 0]);
        // Two are prepared beside the one that is written.
        while !has_segment(&home, 4) {
            send([0, 0, 1]);
        }
        for _ in 0..BULK_OF_SECOND {
            send([0, 0, 1]);
        }
        let status = home.wait_status("all is delivered but what waits for a key", |status| {
            status["profiles"][0]["waiting"] == 0 && status["profiles"][1]["waiting"] == WAITING
        });
        stage.finish();
        let mut books = producers.into_iter().map(|producer| producer.join().expect("no panic"));
        let waiting = books.next().expect("is the first");
        let count = |name| status["profiles"][0][name].as_u64().expect("a count");
        let (delivered, dead) = (count("delivered"), count("dead"));
        assert_eq!(agent.stop().code, Some(0));
        Self { home, waiting, delivered, dead }
    }

    /// A copy of it, and a stand-in for it.
    pub(crate) fn copy(&self) -> (Home, Sandbox) {
        let home = in_memory();
        copy_dir(&self.home.path("data"), &home.path("data"));
        home.write("other", OTHER_KEY);
        let sandbox = upstream(&home, REFUSED[1]);
        (home, sandbox)
    }
}

pub(crate) fn source(
    name: &'static str,
    profile: &'static str,
    filler_bytes: usize,
    dice: &mut Dice,
) -> Source {
    let id = Uuid::from_u128(u128::from(dice.throw()) << 64 | u128::from(dice.throw()));
    Source { name, identity: Identity::Numbered(id), profile, seed: dice.throw(), filler_bytes }
}

pub(crate) fn has_segment(home: &Home, ordinal: u64) -> bool {
    let begin = format!("seg-{ordinal:016x}-");
    names(&home.path("data/store")).iter().any(|name| name.starts_with(&begin))
}

/// A kill shows nothing of a disk, and memory is quick.
fn in_memory() -> Home {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { Home::new_in(memory) } else { Home::new() }
}

/// A stand-in that refuses a record for good after each of so many attempts.
fn upstream(home: &Home, refused: &[u64]) -> Sandbox {
    let after = |attempts: &u64| [Step::times(*attempts, "none"), Step::times(1, "422")];
    let script = Script::steps(refused.iter().flat_map(after).collect());
    let script = serde_json::to_string(&script).expect("is JSON");
    let keys = [format!("{KEY}=default"), format!("{OTHER_KEY}=other")];
    let args = ["--key", &keys[0], "--key", &keys[1], "--rate-limit", "0", "--fault-script", &script];
    Sandbox::start(&home.path("journal"), &args)
}

fn copy_dir(from: &Path, to: &PathBuf) {
    fs::create_dir(to).expect("made");
    fs::set_permissions(to, fs::metadata(from).expect("is there").permissions()).expect("mode set");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).expect("copied");
        }
    }
}
