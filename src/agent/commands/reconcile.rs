//! `reconcile`: whether every event that was ever taken in is accounted for.
//!
//! Counts the log by reading it, record by record, without the index and without the agent, and compares: both
//! sides with each other, and with what the running agent counts at the same place of the log.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::time::Instant;

use clap::Args;
use revenium_store::{Books, SurveyError};
use serde::Serialize;

use super::{LogPlace, count, no_answer, plain, print, ranges};
use crate::admin::{self, AskError};
use crate::cli::ConfigArgs;
use crate::desk::{BooksAnswer, LaneCounts};
use crate::exit::{Exit, Failure, OrExit};
use crate::progress::{Progress, Teller, line};

/// Looks at a log that an agent writes meanwhile: segments that it recycles are no damage, but may look so once.
const LOOKS_MAX: usize = 5;

/// What it does while it shows how far it is.
const COUNTING: &str = "counting the log";

/// What is told of a lane that nobody knows.
const NO_PROFILE: &str = "(unknown)";

/// `reconcile`
#[derive(Debug, Clone, Args)]
pub struct ReconcileArgs {
    /// As one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Counts and compares.
pub fn run(args: &ReconcileArgs) -> Result<Exit, Failure> {
    let place = LogPlace::of(&args.config)?;
    let mut looks = 1;
    let report = loop {
        let report = look(&place.log, &place.data_dir);
        let is_last = looks == LOOKS_MAX;
        match report {
            Ok(Some(report)) if report.is_balanced || !report.is_running || is_last => break report,
            Ok(None) if is_last => return Err(Failure::new(Exit::Usage, SurveyError::Restless)),
            Err(failure) => return Err(failure),
            _ => looks += 1,
        }
    };
    if args.json {
        let json =
            serde_json::to_string(&report).or_exit(Exit::Bug, "the result cannot be written as JSON")?;
        print(&(json + "\n"))?;
    } else {
        print(&report.screen())?;
    }
    Ok(if report.is_balanced { Exit::Ok } else { Exit::Failure })
}

/// Looks once; `None` if the log changed too fast.
fn look(log: &Path, data_dir: &Path) -> Result<Option<Report>, Failure> {
    let agent = ask(data_dir)?;
    let (mut began, mut teller) = (None, Teller::begin());
    let tell = |so_far: revenium_store::Progress| {
        // Finding the log comes before, and says nothing of how long reading it takes.
        let took = began.get_or_insert_with(Instant::now).elapsed();
        let progress = Progress { done: so_far.done_bytes, total: so_far.total_bytes, took };
        if teller.tell(took, |columns| progress.bar(COUNTING, &progress.of_bytes(), columns)) {
            line::say(&format!("{COUNTING}: {}", progress.of_bytes()));
        }
    };
    match Books::of_log_telling(log, agent.as_ref().map(|agent| &agent.place), tell) {
        Ok(books) => Ok(Some(Report::of(&books, agent))),
        Err(SurveyError::Restless) => Ok(None),
        Err(error) => Err(error).or_exit(Exit::Usage, "the log cannot be counted"),
    }
}

/// What the running agent counts, if one runs.
fn ask(data_dir: &Path) -> Result<Option<BooksAnswer>, Failure> {
    match admin::post(data_dir, "/books", &()) {
        Ok(answer) => Ok(Some(answer)),
        Err(AskError::Io(error))
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(AskError::Io(error)) => Err(no_answer(data_dir, &error)),
        Err(AskError::Refused(trouble)) => Err(Failure::new(Exit::Usage, plain(&trouble.to_string()))),
    }
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    is_balanced: bool,
    /// Whether an agent runs that it was compared with.
    is_running: bool,
    /// Events on the one side of the books that are not on the other.
    imbalance: u64,
    /// Numbers of records that are not there: (first, first after).
    missing: Vec<(u64, u64)>,
    missing_segments: Vec<u64>,
    /// Damaged places, counted before or not.
    damaged: u64,
    counted: Vec<LaneCounts>,
    /// What the agent counts otherwise.
    differs: Vec<LaneCounts>,
}

impl Report {
    fn of(books: &Books, agent: Option<BooksAnswer>) -> Self {
        let is_running = agent.is_some();
        let counted = by_name(books.lanes.iter().map(LaneCounts::of));
        let differs = agent.map_or_else(Vec::new, |agent| {
            let agent = by_name(agent.lanes.into_iter());
            // A lane that only one of them has is all zeros for the other.
            let names = counted.keys().chain(agent.keys().filter(|name| !counted.contains_key(*name)));
            let of = |lanes: &BTreeMap<Name, LaneCounts>, (profile, kind): &Name| {
                let none =
                    LaneCounts { profile: profile.clone(), kind: kind.clone(), ..LaneCounts::default() };
                lanes.get(&(profile.clone(), kind.clone())).cloned().unwrap_or(none)
            };
            names.filter(|name| of(&counted, name) != of(&agent, name)).map(|name| of(&agent, name)).collect()
        });
        Self {
            is_balanced: books.balance() && differs.is_empty(),
            is_running,
            imbalance: books.imbalance(),
            missing: books.missing.clone(),
            missing_segments: books.missing_segments.clone(),
            damaged: books.damaged,
            counted: counted.into_values().collect(),
            differs,
        }
    }

    fn screen(&self) -> String {
        let mut text = String::new();
        row(&mut text, "profile", "kind", LaneCounts::NAMES.map(str::to_owned));
        for lane in &self.counted {
            row(&mut text, name_of(lane), &lane.kind, lane.numbers().map(|n| n.to_string()));
        }
        let each = self.counted.iter().map(LaneCounts::numbers);
        let sums = each.fold([0; 6], |sums, lane| std::array::from_fn(|i| sums[i] + lane[i]));
        row(&mut text, "all", "", sums.map(|n| n.to_string()));
        text.push('\n');
        let [received, ..] = sums;
        if self.is_balanced {
            let agent =
                if self.is_running { "; the running agent counts the same" } else { "; no agent runs" };
            let events = match received {
                0 => "there was no event".to_owned(),
                1 => "the one event is accounted for".to_owned(),
                n => format!("each of {n} events is accounted for"),
            };
            let _ = writeln!(text, "balanced: {events}{agent}");
        } else {
            self.say_what_is_wrong(&mut text);
        }
        let places = self.damaged + self.missing_segments.len() as u64;
        if places > 0 {
            let places = count(places, "damaged place");
            let _ = writeln!(text, "the log has {places}: `revenium-agent log verify` says where");
        }
        text
    }

    fn say_what_is_wrong(&self, text: &mut String) {
        let verb = if self.imbalance == 1 { "is" } else { "are" };
        let events = count(self.imbalance, "event");
        let _ = writeln!(text, "NOT BALANCED: {events} {verb} on one side of the books only");
        let missing: u64 = self.missing.iter().map(|(first, after)| after - first).sum();
        if missing > 0 {
            let (records, which) = (count(missing, "record"), ranges(&self.missing));
            let _ =
                writeln!(text, "  {records} not there, of which nothing says what became of them: {which}");
        }
        for lane in &self.differs {
            let mut numbers = String::new();
            for (name, n) in LaneCounts::NAMES.iter().zip(lane.numbers()) {
                let _ = write!(numbers, ", {n} {name}");
            }
            let _ = writeln!(
                text,
                "  of {} {} the running agent counts {}",
                name_of(lane),
                lane.kind,
                numbers.trim_start_matches(", ")
            );
        }
    }
}

type Name = (String, String);

/// Lanes that ever held anything.
fn by_name(lanes: impl Iterator<Item = LaneCounts>) -> BTreeMap<Name, LaneCounts> {
    let held = lanes.filter(|lane| lane.numbers() != [0; 6]);
    held.map(|lane| ((lane.profile.clone(), lane.kind.clone()), lane)).collect()
}

fn name_of(lane: &LaneCounts) -> &str {
    if lane.profile.is_empty() { NO_PROFILE } else { &lane.profile }
}

fn row(text: &mut String, profile: &str, kind: &str, cells: [String; 6]) {
    let _ = write!(text, "{:<20}  {kind:<12}", plain(profile));
    for cell in cells {
        let _ = write!(text, "  {cell:>10}");
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use revenium_store::{Lane, LaneBooks, Ledger, Place};

    use super::*;

    fn books(waiting: u64) -> Books {
        let ledger = Ledger { received: 10, delivered: 4, ..Ledger::default() };
        let lane = Lane { profile: "team".into(), route: 0 };
        let lanes = vec![LaneBooks { lane, waiting, ledger }];
        Books { lanes, missing: Vec::new(), missing_segments: Vec::new(), damaged: 0 }
    }

    fn agent(waiting: u64) -> BooksAnswer {
        let place = Place { ordinal: 1, offset: 128, next_seq: 11, crc: None };
        BooksAnswer { place, lanes: books(waiting).lanes.iter().map(LaneCounts::of).collect() }
    }

    #[test]
    fn what_the_agent_counts_otherwise_does_not_balance() {
        assert!(Report::of(&books(6), Some(agent(6))).is_balanced);
        assert!(Report::of(&books(6), None).is_balanced);
        let report = Report::of(&books(6), Some(agent(5)));
        assert!(!report.is_balanced);
        assert_eq!(
            report.screen(),
            "profile               kind            received   delivered     waiting        dead   discarded        lost\n\
             team                  completion            10           4           6           0           0           0\n\
             all                                         10           4           6           0           0           0\n\
             \n\
             NOT BALANCED: 0 events are on one side of the books only\n\
             \x20 of team completion the running agent counts 10 received, 4 delivered, 5 waiting, 0 dead, 0 discarded, 0 lost\n"
        );
        let none = BooksAnswer { lanes: Vec::new(), ..agent(6) };
        assert_eq!(
            Report::of(&books(6), Some(none)).differs[0].numbers(),
            [0; 6],
            "it knows nothing of the lane"
        );
    }

    #[test]
    fn one_event_is_told_as_one() {
        let of = |received, waiting| {
            let mut books = books(waiting);
            books.lanes[0].ledger = Ledger { received, ..Ledger::default() };
            Report::of(&books, None).screen()
        };
        assert!(
            of(1, 1).contains("\nbalanced: the one event is accounted for; no agent runs\n"),
            "{}",
            of(1, 1)
        );
        assert!(of(0, 0).contains("\nbalanced: there was no event; no agent runs\n"), "{}", of(0, 0));
        assert!(of(2, 2).contains("\nbalanced: each of 2 events is accounted for; "), "{}", of(2, 2));
        assert!(
            of(2, 1).contains("NOT BALANCED: 1 event is on one side of the books only\n"),
            "{}",
            of(2, 1)
        );
    }

    #[test]
    fn a_record_that_is_not_there_does_not_balance() {
        let missing = Books { missing: vec![(3, 4), (7, 10)], damaged: 1, ..books(2) };
        let screen = Report::of(&missing, None).screen();
        for line in [
            "NOT BALANCED: 4 events are on one side of the books only\n",
            "  4 records not there, of which nothing says what became of them: 3, 7-9\n",
            "the log has 1 damaged place: `revenium-agent log verify` says where\n",
        ] {
            assert!(screen.contains(line), "{screen}");
        }
    }
}
