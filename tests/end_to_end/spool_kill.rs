//! Spool files and the end of the agent: read again as often as it takes, stored once.

use std::fs;
use std::thread;
use std::time::Duration;

use revenium_agent::sandbox::What;

use crate::spool::billed;
use crate::support::{Home, SpoolFile, spool_files, until};

/// Chance that can be repeated: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

#[test]
fn spool_files_are_stored_once_however_often_the_agent_is_killed() {
    const KILLS: u64 = 25;
    let seed =
        std::env::var("REVENIUM_CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_127);
    println!("REVENIUM_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let mut next = [1u64; 4];
    let put = |dice: &mut Dice, next: &mut [u64; 4]| {
        let producer = dice.below(4);
        let first = &mut next[usize::try_from(producer).expect("small")];
        let count_max = if dice.below(4) == 0 { 1200 } else { 40 };
        let count = 1 + dice.below(count_max);
        let id = u8::try_from(producer + 1).expect("small");
        SpoolFile::with_events(id, *first, count).put(&dir);
        *first += count;
    };
    let (mut duplicates, mut left) = (0.0, 0);
    for _ in 0..KILLS {
        for _ in 0..dice.below(20) {
            put(&mut dice, &mut next);
        }
        let agent = home.start();
        for _ in 0..dice.below(10) {
            put(&mut dice, &mut next);
        }
        // The moment of a kill is what is tried out here, so this is no wait for anything.
        thread::sleep(Duration::from_micros(dice.below(60_000)));
        duplicates += agent.metric("revenium_agent_events_deduplicated_total");
        agent.kill();
        left += spool_files(&dir).len();
    }
    let agent = home.start();
    until("the folder is empty", || spool_files(&dir), |files| files.is_empty());
    home.wait_drained();
    duplicates += agent.metric("revenium_agent_events_deduplicated_total");
    let events: u64 = next.iter().map(|next| next - 1).sum();
    println!("{KILLS} kills, {events} events, {left} files left by them, {duplicates} lines read again");
    let billed = billed(&sandbox);
    assert_eq!(billed.len() as u64, events);
    assert!(left > 0, "some kills came in time to matter");
    sandbox.assert_attempts_are_alike();
    agent.stop();
}

#[test]
fn a_file_whose_removal_a_kill_prevented_is_known_by_its_numbers() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    let mut file = SpoolFile::with_events(1, 1, 500);
    file.line("a bad line");
    // Well-formed, and refused: a dead letter, and only one.
    file.line("{\"n\":501,\"model\":7}");
    for _ in 0..3 {
        // As it would lie there if the kill had come between the flush and the removal.
        let path = file.put(&dir);
        let agent = home.start();
        until("taken", || path.exists(), |exists| !exists);
        agent.kill();
    }
    let agent = home.start();
    let status = home.wait_drained();
    assert_eq!(
        (&status["profiles"][0]["delivered"], &status["profiles"][0]["dead"]),
        (&500.into(), &1.into())
    );
    assert_eq!((billed(&sandbox).len(), sandbox.count(What::Repeated)), (500, 0));
    let kept = fs::read_dir(home.path("data/spool-quarantine")).expect("there").count();
    assert_eq!(kept, 1, "the same bytes are kept once");
    agent.stop();
}

#[test]
fn stopping_in_the_middle_of_a_file_is_quick_and_leaves_the_rest_for_later() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let dir = home.path("spool");
    for first in 0..4 {
        SpoolFile::with_events(1, 1 + first * 10_000, 10_000).put(&dir);
    }
    let agent = home.start();
    until("it has begun", || agent.metric("revenium_agent_events_committed_total"), |events| *events > 0.0);
    let ended = agent.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("did not stop in time"), "{}", ended.stderr);
    assert_ne!(spool_files(&dir), [""; 0], "the stop came first");
    let agent = home.start();
    until("the folder is empty", || spool_files(&dir), |files| files.is_empty());
    home.wait_drained();
    assert_eq!(billed(&sandbox).len(), 40_000);
    agent.stop();
}

#[test]
fn agents_that_share_a_folder_take_each_file_once() {
    let (one, other, shared) = (Home::new(), Home::new(), tempfile::tempdir().expect("a folder"));
    let sandbox = one.sandbox(&[]);
    let dirs = format!("spool.dirs = [\"{}\"]\n", shared.path().display());
    one.deliver_to(&sandbox, &dirs);
    other.deliver_to(&sandbox, &dirs);
    let agents = [one.start(), other.start()];
    for first in 0..200 {
        SpoolFile::with_events(1, 1 + first * 20, 20).put(shared.path());
    }
    until("the folder is empty", || spool_files(shared.path()), |files| files.is_empty());
    one.wait_drained();
    other.wait_drained();
    assert_eq!(billed(&sandbox).len(), 4000);
    assert_eq!(sandbox.count(What::Repeated), 0, "no event was in two logs");
    for agent in agents {
        assert_eq!(agent.stop().code, Some(0));
    }
}
