//! `flush`: waits until everything that is durable now is out: delivered, dead or discarded. Shows how far
//! it is, and what keeps it.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::{data_dir, no_answer, plain, print, status_of};
use crate::admin::{self, AskError, Status};
use crate::cli::ConfigArgs;
use crate::config::parse_duration;
use crate::desk::{FlushAnswer, FlushRequest, Waits};
use crate::exit::{Exit, Failure};
use crate::progress::{Progress, Teller, line};

/// Between two looks, at first and at last.
const LOOK_EACH_MIN: Duration = Duration::from_millis(20);
const LOOK_EACH_MAX: Duration = Duration::from_millis(500);

/// `flush`
#[derive(Debug, Clone, Args)]
pub struct FlushArgs {
    /// How long to wait at most, such as 30s or 5m
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    deadline: Duration,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Waits.
pub fn run(args: &FlushArgs) -> Result<Exit, Failure> {
    let data_dir = data_dir(&args.config)?;
    let began = Instant::now();
    let mut shown = Shown::new(began);
    let (mut request, mut look_each) = (FlushRequest::default(), LOOK_EACH_MIN);
    loop {
        let waiting = match admin::post::<FlushAnswer>(&data_dir, "/flush", &request) {
            Ok(answer) => {
                request.upto = Some(answer.upto);
                Waiting::For(answer.waiting)
            }
            Err(AskError::Refused(trouble)) if trouble.code == "not_ready" => Waiting::Unknown,
            Err(AskError::Refused(trouble)) => return Err(Failure::new(Exit::Failure, trouble)),
            Err(AskError::Io(error)) => return Err(no_answer(&data_dir, &error)),
        };
        if waiting.is_over() {
            drop(shown);
            print("flushed: everything that was durable is out\n")?;
            return Ok(Exit::Ok);
        }
        let status = status_of(&data_dir)?;
        shown.say_pauses(&status, &waiting);
        let left = args.deadline.saturating_sub(began.elapsed());
        if left.is_zero() {
            drop(shown);
            print(&format!("not flushed within the deadline: {}\n", waiting.words()))?;
            return Ok(Exit::Failure);
        }
        shown.show(&status, &waiting);
        thread::sleep(look_each.min(left));
        look_each = (look_each * 2).min(LOOK_EACH_MAX);
    }
}

/// What is still to come.
enum Waiting {
    /// The index has yet to follow the log.
    Unknown,
    For(Vec<Waits>),
}

impl Waiting {
    fn is_over(&self) -> bool {
        matches!(self, Self::For(waits) if waits.is_empty())
    }

    fn waits_for(&self, profile: &str) -> bool {
        matches!(self, Self::For(waits) if waits.iter().any(|wait| wait.profile == profile))
    }

    fn events(&self) -> u64 {
        match self {
            Self::Unknown => 0,
            Self::For(waits) => waits.iter().map(|wait| wait.events).sum(),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Unknown => "the index has yet to follow the log".to_owned(),
            Self::For(waits) => {
                let each =
                    |wait: &Waits| format!("{} {} of {}", wait.events, wait.kind, plain(&wait.profile));
                let each: Vec<String> = waits.iter().map(each).collect();
                format!("{} waiting ({})", self.events(), each.join(", "))
            }
        }
    }
}

/// Shows how it goes.
struct Shown {
    began: Instant,
    teller: Teller,
    /// The most that ever waited: what waited at first, unless a long backlog was not counted through.
    total: u64,
    /// Pauses that were told of.
    pauses: BTreeSet<String>,
}

impl Shown {
    fn new(began: Instant) -> Self {
        Self { began, teller: Teller::begin(), total: 0, pauses: BTreeSet::new() }
    }

    /// Says the pauses of profiles that are waited for, each once, as soon as it is seen.
    fn say_pauses(&mut self, status: &Status, waiting: &Waiting) {
        for profile in status.profiles.iter().filter(|profile| waiting.waits_for(&profile.name)) {
            for pause in &profile.paused {
                let route = pause.route.as_deref().unwrap_or("everything");
                let line = format!("paused: {}: {}: {}", plain(&profile.name), route, plain(&pause.words));
                if !self.pauses.contains(&line) {
                    line::say(&line);
                    self.pauses.insert(line);
                }
            }
        }
    }

    fn show(&mut self, status: &Status, waiting: &Waiting) {
        let took = self.began.elapsed();
        if matches!(waiting, Waiting::Unknown) {
            let words = format!("{}; {}", waiting.words(), plain(&status.waiting_for.join("; ")));
            if self.teller.tell(took, |columns| words.chars().take(columns).collect()) {
                line::say(&words);
            }
            return;
        }
        let left = waiting.events();
        self.total = self.total.max(left);
        let progress = Progress { done: self.total - left, total: self.total, took };
        let words = progress.of("events");
        if self.teller.tell(took, |columns| progress.bar("flushing", &words, columns)) {
            line::say(&format!("{words}; {}", waiting.words()));
        }
    }
}
