//! Stores whose power is cut, thousands of times.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::book::Book;
use crate::dice::Dice;
use crate::disk::Lie;
use crate::mount::Mount;
use crate::place::Place;
use crate::plan::Plan;
use crate::said::Said;
use crate::worker::Work;

/// Cuts that one store lives through. The next one begins with nothing.
const CUTS: u64 = 30;
/// Numbers handed over again after a cut, to see that they are recognised.
const KNOWN_ASKED: usize = 3;
const LINES_SHOWN: usize = 30;
const COMPLAINTS_SHOWN: usize = 10;

#[test]
fn what_was_acknowledged_is_there_once_and_whole_however_often_the_power_goes() {
    let tally = run(Plan::from_environment(), Lie::None);
    let _ = writeln!(io::stderr(), "{tally}");
    tally.assert_flawless();
    assert!(tally.sectors_lost > 0 && tally.sectors_torn > 0 && tally.moves_lost > 0, "{tally}");
}

#[test]
fn a_device_that_does_not_flush_files_loses_what_was_acknowledged_and_is_found_out() {
    assert_found_out(Lie::OfFiles);
}

#[test]
fn a_device_that_does_not_flush_names_loses_what_was_acknowledged_and_is_found_out() {
    assert_found_out(Lie::OfDirectories);
}

fn assert_found_out(lie: Lie) {
    let rounds = 2 * CUTS;
    let tally = run(Plan { rounds, ..Plan::from_environment() }, lie);
    let lost = tally.complaints.iter().filter(|what| what.contains("LOST")).count();
    assert!(lost > 0, "nothing is missed after {} cuts: the test sees nothing\n{tally}", tally.cuts);
}

/// What came of all cuts.
#[derive(Debug, Default)]
struct Tally {
    took: Duration,
    stores: u64,
    cuts: u64,
    looks: u64,
    records: u64,
    sectors_lost: u64,
    sectors_torn: u64,
    moves_lost: u64,
    places: BTreeMap<Place, u64>,
    complaints: Vec<String>,
}

fn run(plan: Plan, lie: Lie) -> Tally {
    let began = Instant::now();
    let tally = Mutex::new(Tally::default());
    let dice = Mutex::new(Dice::new(plan.seed));
    let next = || {
        let mut tally = tally.lock().expect("no panic while locked");
        let number = tally.stores;
        // Once a lie is found out, more of it says nothing new.
        let is_enough = number * CUTS >= plan.rounds || (lie != Lie::None && !tally.complaints.is_empty());
        tally.stores += u64::from(!is_enough);
        (!is_enough).then(|| (number, dice.lock().expect("no panic while locked").fork()))
    };
    thread::scope(|scope| {
        // Stores wait for their flushes, mostly.
        for _ in 0..2 * thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((number, dice)) = next() {
                    Store::new(number, lie, dice).live(CUTS.min(plan.rounds), &tally);
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("no panic while locked");
    tally.took = began.elapsed();
    tally
}

/// One store, through all its cuts.
struct Store {
    number: u64,
    dice: Dice,
    mount: Mount,
    /// Where it is mounted; unmounted before it goes.
    at: tempfile::TempDir,
    book: Book,
    last: Vec<String>,
}

impl Store {
    fn new(number: u64, lie: Lie, dice: Dice) -> Self {
        let at = tempfile::tempdir().expect("a folder");
        let mount = Mount::new(at.path(), lie, None);
        Self { number, dice, mount, at, book: Book::default(), last: Vec::new() }
    }

    fn live(mut self, cuts: u64, all: &Mutex<Tally>) {
        for cut in 0..cuts {
            self.work_until_cut(cut);
            let (place, cost) = self.mount.restore(&mut self.dice);
            let mut all = all.lock().expect("no panic while locked");
            all.cuts += 1;
            all.sectors_lost += cost.sectors.lost;
            all.sectors_torn += cost.sectors.torn;
            all.moves_lost += cost.moves_lost;
            *place.map(|place| all.places.entry(place).or_default()).unwrap_or(&mut 0) += 1;
            if !self.book.complaints.is_empty() {
                break;
            }
        }
        if self.book.complaints.is_empty() {
            self.look();
        }
        let mut all = all.lock().expect("no panic while locked");
        all.looks += self.book.looks;
        all.records += self.book.records();
        all.complaints.append(&mut self.book.complaints);
    }

    fn work_until_cut(&mut self, cut: u64) {
        // In its opening, soon after it, later, or when segments come and go.
        let most = [(0, 30), (0, 200), (0, 1_000), (15, 3), (60, 3)];
        let (rare, any) = most[usize::try_from(self.dice.between(0..=4)).expect("is small")];
        let (rare, any) = (self.dice.between(0..=rare), self.dice.between(0..=any));
        self.mount.arm(rare, any);
        let from = self.dice.between(0..=self.book.next());
        let work = Work {
            dir: self.at.path().join("store"),
            seed: self.dice.throw(),
            next: self.book.next(),
            again: self.book.again(),
            known: self.book.stored_from(from).take(KNOWN_ASKED).collect(),
            only_looks: false,
        };
        self.do_work(&work);
        self.book.power_went();
        let is_cut = self.mount.is_off();
        self.judge(&format!("cut {cut}, after {rare} rare and {any} more operations"), is_cut);
    }

    /// Once more, and with an index made anew.
    fn look(&mut self) {
        let work = Work { dir: self.at.path().join("store"), only_looks: true, ..Work::default() };
        for what in ["after all cuts", "after all cuts, with a new index"] {
            let looks = self.book.looks;
            self.do_work(&work);
            let has_looked = self.book.looks > looks;
            self.judge(what, has_looked);
            crate::store::remove_index(&work.dir);
        }
    }

    fn do_work(&mut self, work: &Work) {
        let mut child = work.start();
        self.mount.set_victim(Pid::from_child(&child));
        let stderr = child.stderr.take().expect("piped");
        self.last.clear();
        for line in BufReader::new(stderr).lines() {
            let line = line.expect("UTF-8");
            match Said::parse(&line) {
                Some(said) => self.book.hear(said),
                None => self.last.push(line),
            }
        }
        child.wait().expect("has ended");
    }

    /// Says where it happened, if anything is wrong.
    fn judge(&mut self, when: &str, has_ended_well: bool) {
        if !has_ended_well {
            self.book.complaints.push("it ended by itself".into());
        }
        if !self.book.complaints.is_empty() {
            let last: Vec<&str> = self.last.iter().take(LINES_SHOWN).map(String::as_str).collect();
            self.book.complaints.push(format!("it wrote: {}", last.join("\n    ")));
        }
        for complaint in &mut self.book.complaints {
            *complaint = format!("store {}, {when}: {complaint}", self.number);
        }
    }
}

impl Tally {
    fn assert_flawless(&self) {
        let shown: Vec<&str> = self.complaints.iter().take(COMPLAINTS_SHOWN).map(String::as_str).collect();
        let count = self.complaints.len();
        assert!(count == 0, "{count} complaints, such as:\n{}", shown.join("\n"));
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "power: {} cuts of {} stores in {:?}; {} looks at {} records; {} sectors lost, {} torn, {} names lost",
            self.cuts,
            self.stores,
            self.took,
            self.looks,
            self.records,
            self.sectors_lost,
            self.sectors_torn,
            self.moves_lost
        )?;
        for (place, times) in &self.places {
            writeln!(f, "  {times:>6}  {place}")?;
        }
        Ok(())
    }
}
