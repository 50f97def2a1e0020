//! `revenium-agent send`: meters from a shell, and says when it is durable.
//!
//! One event made of flags, or a JSON line for each event from standard input or a file. Waits
//! until each is durable or refused, and never longer than `--timeout` without anything moving.

mod counted;
mod event;
mod spool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use revenium_emitter::place;
use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::{Kind, profile_is_valid};

pub use event::{EventArgs, Member};

use crate::client::{ClientError, Courier, Delivery, Unconfirmed};
use crate::intake::{LineBuffer, Step};

/// Every event is durable.
pub const EXIT_DURABLE: u8 = 0;
/// Some events were refused, each named on standard error.
pub const EXIT_REFUSED: u8 = 1;
/// The command line or the file makes no sense. `clap` exits with this, too.
pub const EXIT_USAGE: u8 = 2;
/// The agent is not there or stopped answering.
pub const EXIT_NO_AGENT: u8 = 3;

/// How long to wait without anything moving, unless `--timeout` says otherwise: a restart of the
/// agent fits in.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Exit codes, for `--help`.
const AFTER_HELP: &str = "\
Exit codes: 0 all events are durable; 1 some were refused, each named on standard error; \
2 wrong usage or unreadable input; 3 no agent was reached, or it stopped answering.";

/// Sends events to the agent and waits until they are durable.
///
/// Examples: `revenium-agent send --model claude-sonnet-4 --provider Anthropic --input-tokens 25
/// --output-tokens 15`; `revenium-agent send - < events.jsonl`.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SendArgs {
    /// `-` reads events from standard input, one JSON object a line
    #[arg(value_name = "-", value_parser = ["-"], conflicts_with_all = ["file", "EventArgs"])]
    pub stdin: Option<String>,
    /// Read events from this file, one JSON object a line
    #[arg(long, value_name = "FILE", conflicts_with = "EventArgs")]
    pub file: Option<PathBuf>,
    /// Hand in the spool files of this folder that are yours: each goes once all of its events are
    /// durable; lines that cannot be sent are kept in DIR/bad
    #[arg(long, value_name = "DIR", conflicts_with_all = ["stdin", "file", "EventArgs", "profile", "kind"])]
    pub spool: Option<PathBuf>,
    /// Which profile the events are for, unless they name one [default: that of the API key in
    /// REVENIUM_METERING_API_KEY, if it is set, else default]
    #[arg(long, value_name = "NAME", value_parser = profile)]
    pub profile: Option<String>,
    /// What the events meter, unless they say so: completion, image, audio, video, tool, generic,
    /// api-request or api-response [default: completion]
    #[arg(long, value_name = "KIND", value_parser = kind)]
    pub kind: Option<Kind>,
    /// The agent's socket [default: the user's agent, else the system's]
    #[arg(long, value_name = "PATH", env = "REVENIUM_AGENT_SOCKET")]
    pub socket: Option<PathBuf>,
    /// How long to wait without anything moving, such as 500ms, 30s or 2m [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub json: bool,
    /// The event, as flags.
    #[command(flatten)]
    pub event: EventArgs,
}

/// Sends what `args` say; returns the exit code.
pub fn run(args: &SendArgs, stdin: impl Read, mut out: impl Write, mut err: impl Write) -> u8 {
    if std::env::var("REVENIUM_METERING_DISABLED").is_ok_and(|value| value == "1") {
        let _ = writeln!(err, "nothing is sent: REVENIUM_METERING_DISABLED is 1");
        return EXIT_DURABLE;
    }
    if let Some(dir) = &args.spool {
        let options = spool::Options { places: places(args), timeout: args.timeout.unwrap_or(TIMEOUT) };
        return spool::run(dir, &options, args.json, out, err);
    }
    let source = match source(args, stdin) {
        Ok(source) => source,
        Err(message) => {
            let _ = writeln!(err, "error: {message}");
            return EXIT_USAGE;
        }
    };
    let is_one = matches!(source, Source::Event(_));
    let mut refused = 0u64;
    let result = deliver(args, source, &mut |delivery| {
        if let Delivery::Refused { tag, why } = delivery {
            refused += 1;
            let _ = if is_one { writeln!(err, "refused: {why}") } else { writeln!(err, "line {tag}: {why}") };
        }
    });
    let (durable, unconfirmed) = match &result {
        Ok(durable) | Err(Failure::Input { durable, .. }) => (*durable, 0),
        Err(Failure::Unconfirmed(unconfirmed)) => (unconfirmed.durable, unconfirmed.events),
        Err(Failure::NoAgent(_)) => (0, 0),
    };
    // Somebody who closed our output doesn't want to know.
    let _ = if args.json {
        writeln!(out, "{{\"durable\":{durable},\"refused\":{refused},\"unconfirmed\":{unconfirmed}}}")
    } else {
        writeln!(out, "durable: {durable} {}", if durable == 1 { "event" } else { "events" })
    };
    match result {
        Ok(_) if refused == 0 => EXIT_DURABLE,
        Ok(_) => EXIT_REFUSED,
        Err(failure) => {
            let _ = writeln!(err, "error: {failure}");
            failure.exit_code()
        }
    }
}

/// Where the events come from.
enum Source<'a> {
    Event(Vec<u8>),
    Lines(Box<dyn Read + 'a>),
}

/// Why not every event was seen to its end.
#[derive(Debug)]
enum Failure {
    NoAgent(ClientError),
    Unconfirmed(Unconfirmed),
    Input { durable: u64, error: io::Error },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::NoAgent(_) | Self::Unconfirmed(_) => EXIT_NO_AGENT,
            Self::Input { .. } => EXIT_USAGE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAgent(error) => write!(f, "{error}{}", hint(error)),
            Self::Unconfirmed(Unconfirmed { events, cause, .. }) => {
                write!(f, "{cause}; events not confirmed: {events} (durable or not)")
            }
            Self::Input { error, .. } => write!(f, "cannot read the events: {error}"),
        }
    }
}

/// What to do when nobody listens.
fn hint(error: &ClientError) -> &'static str {
    match error {
        ClientError::NotReachable { .. } => {
            "\nstart it with `revenium-agent run`, or name its socket with --socket or REVENIUM_AGENT_SOCKET"
        }
        _ => "",
    }
}

fn source<'a>(args: &SendArgs, stdin: impl Read + 'a) -> Result<Source<'a>, String> {
    if args.stdin.is_some() {
        return Ok(Source::Lines(Box::new(stdin)));
    }
    if let Some(path) = &args.file {
        let file = File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?;
        return Ok(Source::Lines(match counted::Counted::new(file) {
            Ok(counted) => Box::new(counted),
            Err(file) => Box::new(file),
        }));
    }
    let event = args.event.json();
    if event.is_empty() {
        return Err(
            "nothing to send: give --model and the like, --file FILE, --spool DIR, or - for lines from \
                    standard input"
                .to_owned(),
        );
    }
    Ok(Source::Event(event))
}

/// Where the agent may be.
fn places(args: &SendArgs) -> Vec<PathBuf> {
    args.socket.clone().map_or_else(place::sockets, |path| vec![path])
}

fn deliver(
    args: &SendArgs,
    source: Source<'_>,
    report: &mut dyn FnMut(Delivery<'_>),
) -> Result<u64, Failure> {
    let timeout = args.timeout.unwrap_or(TIMEOUT);
    let mut courier =
        Courier::connect(places(args), args.profile.clone().or_else(place::profile), timeout, report)
            .map_err(Failure::NoAgent)?;
    let read = match source {
        Source::Event(event) => courier.send(1, &with_kind(&event, args.kind)).map(|()| Ok(())),
        Source::Lines(input) => send_lines(input, args.kind, &mut courier),
    };
    let read = read.map_err(Failure::Unconfirmed)?;
    let durable = courier.finish().map_err(Failure::Unconfirmed)?;
    read.map(|()| durable).map_err(|error| Failure::Input { durable, error })
}

/// Sends each line as it comes. The inner result is the input's, the outer one the agent's.
fn send_lines(
    mut input: impl Read,
    kind: Option<Kind>,
    courier: &mut Courier<'_>,
) -> Result<io::Result<()>, Unconfirmed> {
    let mut lines = LineBuffer::new(LINE_BYTES_MAX);
    let mut number = 0;
    loop {
        while let Some(step) = lines.next() {
            number += 1;
            match step {
                Step::Line(line) => send_line(number, line, kind, courier)?,
                Step::TooLong(_) => {
                    let message = format!("longer than {LINE_BYTES_MAX} bytes");
                    courier.turn_away(number, revenium_event::line::Code::TooLarge, &message);
                }
            }
        }
        // The next line may be long in coming.
        courier.flush()?;
        match input.read(lines.room()) {
            Ok(0) => break,
            Ok(count) => lines.filled(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(error)),
        }
    }
    send_line(number + 1, lines.take_rest(), kind, courier)?;
    Ok(Ok(()))
}

fn send_line(
    number: u64,
    line: &[u8],
    kind: Option<Kind>,
    courier: &mut Courier<'_>,
) -> Result<(), Unconfirmed> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(());
    }
    courier.send(number, &with_kind(line, kind))
}

/// The event with this kind, unless it says one itself.
fn with_kind(event: &[u8], kind: Option<Kind>) -> std::borrow::Cow<'_, [u8]> {
    let is_json = || serde_json::from_slice::<&serde_json::value::RawValue>(event).is_ok();
    let Some(kind) = kind.filter(|_| revenium_event::member(event, "kind").is_none() && is_json()) else {
        return event.into();
    };
    let Some(rest) = event.strip_prefix(b"{").map(<[u8]>::trim_ascii_start) else {
        return event.into();
    };
    let comma = if rest.starts_with(b"}") { "" } else { "," };
    let mut said = format!("{{\"kind\":\"{}\"{comma}", kind.name()).into_bytes();
    said.extend_from_slice(rest);
    said.into()
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::from_name(text).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        format!("it is none of {}", names.join(", "))
    })
}

fn profile(text: &str) -> Result<String, String> {
    if profile_is_valid(text) {
        return Ok(text.to_owned());
    }
    Err("a profile's name is 1 to 64 of A-Z a-z 0-9 _ -".to_owned())
}

/// A number with its unit: `500ms`, `30s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err("write a whole number and its unit: 500ms, 30s, 2m".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number first, such as 30s".to_owned())?;
    match number.saturating_mul(unit_ms) {
        0 => Err("waiting no time at all confirms nothing".to_owned()),
        ms => Ok(Duration::from_millis(ms)),
    }
}
