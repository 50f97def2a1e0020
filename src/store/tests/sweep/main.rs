//! Damage of every kind in every place of a small store: every byte flipped, every block zeroed or swapped
//! with another, every file cut at every block, gone, or swapped with another.
//!
//! Whatever it is, the store opens; what it gives back is what was put in; what it does not give back any
//! more lay in the damaged bytes, and is counted, record by record; and the damaged bytes are kept. The
//! index is there, or it is made anew from what is left of the log.
//!
//! A run takes samples, others each time; `REVENIUM_SWEEP=200000` takes every place, with the index and
//! without. A failure names the place.
//!
//! Of a large log every byte is flipped too, but many at a time, each in a chunk of its own: as many cases as it
//! has bytes would take weeks, since each opens the store three times.
#![allow(missing_docs)]

mod damage;
mod specimen;
#[path = "../support/mod.rs"]
mod support;

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use damage::Damage;
use specimen::{Size, Specimen};

const BLOCK: u64 = 512;
const COMPLAINTS_SHOWN: usize = 12;
/// Cases of one sample.
const SAMPLE: usize = 120;
const SAMPLE_OF_LARGE: usize = 16;
/// One chunk in so many is damaged at a time, where several are.
const APART: usize = 4;
const TOLD_EACH: usize = 500;

/// Runs a sample of the cases; an odd step takes both, with the index and without.
fn sweep(what: &str, cases: impl Fn(&Specimen) -> Vec<Damage>) {
    sweep_of(&Specimen::new(Size::Small), what, SAMPLE, cases);
}

fn sweep_of(specimen: &Specimen, what: &str, sample: usize, cases: impl Fn(&Specimen) -> Vec<Damage>) {
    // sled panics on damaged files, in its own threads too; the store's answer is what is tested.
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|l| l.file().contains("sled")) {
            quiet(info);
        }
    }));
    let all = cases(specimen);
    let sample = std::env::var("REVENIUM_SWEEP").map_or(sample, |n| n.parse().unwrap());
    let places = all.len();
    // Each place twice.
    let cases = all.into_iter().flat_map(|damage| [(damage.clone(), false), (damage, true)]);
    let step = (2 * places).div_ceil(sample) | 1;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let from = now.subsec_micros() as usize % step;
    let taken: Vec<(Damage, bool)> = cases.skip(from).step_by(step).collect();
    let run = Run { specimen, what, taken: &taken, next: AtomicUsize::new(0), complaints: Mutex::default() };
    let complaints = run.complaints();
    println!("{what}: {} of {} cases", taken.len(), 2 * places);
    let shown = &complaints[..complaints.len().min(COMPLAINTS_SHOWN)];
    assert!(complaints.is_empty(), "{} complaints, such as\n{}", complaints.len(), shown.join("\n"));
}

/// Cases that several threads take in turn.
struct Run<'a> {
    specimen: &'a Specimen,
    what: &'a str,
    taken: &'a [(Damage, bool)],
    next: AtomicUsize,
    complaints: Mutex<Vec<String>>,
}

impl Run<'_> {
    fn complaints(self) -> Vec<String> {
        let began = Instant::now();
        // A case waits for its stores' threads for most of its time.
        let threads = 2 * std::thread::available_parallelism().map_or(1, |n| n.get());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.take_in_turn(began));
            }
        });
        self.complaints.into_inner().unwrap()
    }

    fn take_in_turn(&self, began: Instant) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((damage, without_index)) = self.taken.get(n) else { return };
            if let Err(complaint) = self.specimen.stand(damage, *without_index) {
                let complaint = format!("{damage:?}, without index: {without_index}: {complaint}");
                // Past the harness, which would hold it back to the end.
                let _ = writeln!(io::stderr(), "{}: {complaint}", self.what);
                self.complaints.lock().unwrap().push(complaint);
            }
            if (n + 1).is_multiple_of(TOLD_EACH) {
                let (all, took) = (self.taken.len(), began.elapsed());
                let each = took / u32::try_from(n + 1).unwrap();
                let bad = self.complaints.lock().unwrap().len();
                let _ = writeln!(
                    io::stderr(),
                    "{}: {} of {all} in {took:.0?}, {each:.0?} a case, {bad} complaints",
                    self.what,
                    n + 1
                );
            }
        }
    }
}

fn blocks(specimen: &Specimen, file: usize) -> impl Iterator<Item = u64> {
    (0..specimen.used(file).div_ceil(BLOCK)).map(|block| block * BLOCK)
}

fn everywhere(specimen: &Specimen, of: impl Fn(usize, u64) -> Damage) -> Vec<Damage> {
    let of = &of;
    (0..specimen.logs()).flat_map(|file| blocks(specimen, file).map(move |at| of(file, at))).collect()
}

#[test]
fn any_flipped_byte_of_the_log_costs_what_lay_there_and_is_counted() {
    sweep("flipped bytes", |specimen| {
        let in_file = |file| (0..specimen.used(file)).map(move |at| Damage::Flip { file, at });
        (0..specimen.logs()).flat_map(in_file).collect()
    });
}

/// Every byte of more than a mebibyte, many at a time.
#[test]
fn any_flipped_bytes_of_a_large_log_cost_what_lay_there_and_are_counted() {
    let specimen = Specimen::new(Size::Large);
    let bytes: u64 = (0..specimen.logs()).map(|file| specimen.used(file)).sum();
    assert!(bytes >= 1 << 20, "the log has only {bytes} bytes");
    println!("a log of {bytes} bytes");
    sweep_of(&specimen, "flipped bytes of a large log", SAMPLE_OF_LARGE, |specimen| specimen.flips(APART));
}

#[test]
fn any_zeroed_block_of_the_log_costs_what_lay_there_and_is_counted() {
    sweep("zeroed blocks", |specimen| everywhere(specimen, |file, at| Damage::Zero { file, at }));
}

#[test]
fn any_two_blocks_that_changed_places_cost_what_lay_there_and_are_counted() {
    sweep("swapped blocks", |specimen| {
        let next = |file, at| Damage::SwapBlocks { file, at, with: at + 3 * BLOCK };
        everywhere(specimen, next)
    });
}

#[test]
fn a_log_file_cut_off_at_any_block_costs_what_lay_behind_and_is_counted() {
    sweep("cut files", |specimen| everywhere(specimen, |file, at| Damage::Cut { file, at }));
}

#[test]
fn any_log_file_that_is_gone_costs_what_lay_there_and_is_counted() {
    sweep("missing files", |specimen| (0..specimen.logs()).map(|file| Damage::Missing { file }).collect());
}

#[test]
fn log_files_that_changed_places_cost_what_lay_there_and_are_counted() {
    sweep("swapped files", |specimen| {
        let pairs = (0..specimen.logs()).flat_map(|a| (0..a).map(move |b| Damage::SwapFiles { a, b }));
        pairs.collect()
    });
}

#[test]
fn what_interrupted_renames_and_copies_left_costs_nothing() {
    sweep("leftovers", |specimen| {
        let of_file = |file| [Damage::LeftTemporary { file }, Damage::LeftTwice { file }];
        (0..specimen.logs()).flat_map(of_file).collect()
    });
}

#[test]
fn whatever_happens_to_the_watermark_costs_nothing() {
    sweep("the watermark", |specimen| {
        let file = specimen.watermark();
        let flips = (0..specimen.used(file)).map(|at| Damage::Flip { file, at });
        let cuts = (0..specimen.used(file)).step_by(16).map(|at| Damage::Cut { file, at });
        flips.chain(cuts).chain([Damage::Missing { file }, Damage::Zero { file, at: 0 }]).collect()
    });
}

#[test]
fn whatever_happens_to_sleds_files_costs_nothing() {
    sweep("sled's files", |specimen| {
        let of_file = |file| {
            let places = blocks(specimen, file).flat_map(move |at| {
                [Damage::Flip { file, at: at + 7 }, Damage::Zero { file, at }, Damage::Cut { file, at }]
            });
            places.chain([Damage::Missing { file }])
        };
        specimen.of_index().flat_map(of_file).collect()
    });
}

/// Found by the sweeps above, all with an index that was made anew.
#[test]
fn what_was_found_once_stays_mended() {
    let specimen = Specimen::new(Size::Small);
    let cases = [
        // Notes of ends were gone that a checkpoint had counted: their records waited again, and the ledger was off
        // for ever.
        Damage::Cut { file: 0, at: 1024 },
        // Of the missing numbers a checkpoint had counted some and others not; all were taken for the latter.
        Damage::Cut { file: 1, at: 2048 },
        // A checkpoint's counts ended in a file that was gone: nothing was said to be missing.
        Damage::Missing { file: 0 },
        Damage::SwapFiles { a: 1, b: 0 },
        // The first segment's header was gone together with its first records: nothing missed them.
        Damage::Zero { file: 0, at: 0 },
    ];
    for damage in cases {
        assert_eq!(specimen.stand(&damage, true), Ok(()), "{damage:?}");
    }
}
