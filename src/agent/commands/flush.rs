//! `flush`: waits until everything that is durable now is out: delivered, dead or discarded.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use super::{data_dir, no_answer, plain, print};
use crate::admin::{self, AskError, Status};
use crate::cli::ConfigArgs;
use crate::config::parse_duration;
use crate::desk::{FlushAnswer, FlushRequest, Waits};
use crate::exit::{Exit, Failure, OrExit};

/// Between two looks, at first and at last.
const LOOK_EACH_MIN: Duration = Duration::from_millis(20);
const LOOK_EACH_MAX: Duration = Duration::from_millis(500);

/// Between two lines about how it goes.
const TELL_EACH: Duration = Duration::from_secs(5);

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
    let mut teller = Teller::default();
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
            teller.end_line();
            print("flushed: everything that was durable is out\n")?;
            return Ok(Exit::Ok);
        }
        teller.tell_pauses(&data_dir, &waiting)?;
        let left = args.deadline.saturating_sub(began.elapsed());
        if left.is_zero() {
            teller.end_line();
            print(&format!("not flushed within the deadline: {}\n", waiting.words()))?;
            return Ok(Exit::Failure);
        }
        teller.tell(&waiting);
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

    fn words(&self) -> String {
        match self {
            Self::Unknown => "the index has yet to follow the log".to_owned(),
            Self::For(waits) => {
                let events: u64 = waits.iter().map(|wait| wait.events).sum();
                let each =
                    |wait: &Waits| format!("{} {} of {}", wait.events, wait.kind, plain(&wait.profile));
                let each: Vec<String> = waits.iter().map(each).collect();
                format!("{events} waiting ({})", each.join(", "))
            }
        }
    }
}

/// Tells how it goes: on a terminal one line that changes, else a line each few seconds.
#[derive(Default)]
struct Teller {
    told_at: Option<Instant>,
    /// Pauses that were told of.
    pauses: BTreeSet<String>,
    has_line: bool,
}

impl Teller {
    /// Pauses of profiles that are waited for, each once, as soon as it is seen.
    fn tell_pauses(&mut self, data_dir: &Path, waiting: &Waiting) -> Result<(), Failure> {
        let json = admin::ask(data_dir, "/status").map_err(|error| no_answer(data_dir, &error))?;
        let status: Status = serde_json::from_str(&json)
            .or_exit(Exit::Usage, "the agent's answer cannot be read; is it of another version?")?;
        for profile in status.profiles.iter().filter(|profile| waiting.waits_for(&profile.name)) {
            for pause in &profile.paused {
                let route = pause.route.as_deref().unwrap_or("everything");
                let line = format!("paused: {}: {}: {}", plain(&profile.name), route, plain(&pause.words));
                if !self.pauses.contains(&line) {
                    self.end_line();
                    eprintln!("{line}");
                    self.pauses.insert(line);
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, waiting: &Waiting) {
        let words = waiting.words();
        if io::stderr().is_terminal() {
            // Back to the line's beginning, and away with what was there.
            eprint!("\r\x1b[K{words}");
            self.has_line = true;
            return;
        }
        let began = *self.told_at.get_or_insert_with(Instant::now);
        if began.elapsed() >= TELL_EACH {
            self.told_at = Some(Instant::now());
            eprintln!("{words}");
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.has_line) {
            eprintln!();
        }
    }
}
