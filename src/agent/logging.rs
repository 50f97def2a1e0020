//! Log lines on stderr: as text, as JSON, or as the journal likes them.
//!
//! Our own crates log at the configured level; others only from WARN up, since their debug lines
//! may quote what they send. Colours only on a terminal, and never with `NO_COLOR` set. Lines go above the
//! bar that a long start shows there.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
#[cfg(test)]
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tracing::{Event, Level, Subscriber, error, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;

use crate::config::{LogFormat, LogLevel, LoggingConfig};
use crate::progress::line;

/// Starts logging, once per process. A panic is a line like any other from then on.
pub fn init(config: LoggingConfig) -> Result<(), tracing::subscriber::SetGlobalDefaultError> {
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing::subscriber::set_global_default(subscriber(config, colours, || line::Above))?;
    panic::set_hook(Box::new(tell));
    Ok(())
}

/// Says that a thread panicked. sled does where its disk fails: that is caught, and the index made anew.
fn tell(panic: &PanicHookInfo<'_>) {
    let text = panic.payload().downcast_ref::<String>().map(String::as_str);
    let why = text.or_else(|| panic.payload().downcast_ref::<&str>().copied());
    let at = panic.location().map(tracing::field::display);
    if panic.location().is_some_and(|at| is_sleds(at.file())) {
        return warn!(at, why, "sled gave up");
    }
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| tracing::field::display(backtrace));
    error!(thread = thread::current().name(), at, why, backtrace, "panicked");
}

fn is_sleds(file: &str) -> bool {
    file.split(['/', '\\']).any(|part| part == "sled" || part.starts_with("sled-"))
}

/// What turns events into lines on `writer`.
fn subscriber<W>(config: LoggingConfig, colours: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let filter = filter(config.level);
    let registry = tracing_subscriber::registry();
    match config.format {
        LogFormat::Text => Box::new(registry.with(lines.with_ansi(colours).with_filter(filter))),
        LogFormat::Json => Box::new(registry.with(lines.json().flatten_event(true).with_filter(filter))),
        LogFormat::Journald => {
            let lines = lines.with_ansi(false).event_format(Prioritized::default());
            Box::new(registry.with(lines.with_filter(filter)))
        }
    }
}

fn filter(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // One target is the prefix of all our crates'.
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("revenium", ours)
}

/// Lines without a time, each led by its sd-daemon(3) priority. The journal adds the time.
struct Prioritized {
    line: Format<Full, ()>,
}

impl Default for Prioritized {
    fn default() -> Self {
        Self { line: tracing_subscriber::fmt::format().without_time().with_level(false) }
    }
}

impl<S, N> FormatEvent<S, N> for Prioritized
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut text = String::new();
        self.line.format_event(context, Writer::new(&mut text), event)?;
        // The journal takes every line as an entry of its own; a continued one needs its priority too.
        let priority = priority(*event.metadata().level());
        text.lines().try_for_each(|line| writeln!(writer, "<{priority}>{line}"))
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// Lines kept in memory.
#[cfg(test)]
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `work` and returns what it logged in this thread, as text, with its result.
#[cfg(test)]
pub(crate) fn capture<T>(work: impl FnOnce() -> T) -> (String, T) {
    capture_as(LoggingConfig { level: LogLevel::Trace, format: LogFormat::Text }, work)
}

#[cfg(test)]
fn capture_as<T>(config: LoggingConfig, work: impl FnOnce() -> T) -> (String, T) {
    let kept = Kept::default();
    let writer = kept.clone();
    let result = tracing::subscriber::with_default(subscriber(config, false, move || writer.clone()), work);
    let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
    (String::from_utf8_lossy(&bytes).into_owned(), result)
}

#[cfg(test)]
mod tests {
    use tracing::{debug, info, trace};

    use super::*;

    fn lines(level: LogLevel, format: LogFormat) -> String {
        let log = || {
            error!(disk = "sda", "disk failed");
            warn!("careful");
            info!(records = 3, "chunk committed\nwith a second line");
            debug!("a chunk");
            trace!("an event");
            warn!(target: "hyper::proto", "of another crate");
            info!(target: "hyper::proto", "quotes what was sent");
        };
        capture_as(LoggingConfig { level, format }, log).0
    }

    #[test]
    fn a_panic_is_a_line_and_sled_s_is_no_error() {
        let before = panic::take_hook();
        panic::set_hook(Box::new(tell));
        let config = LoggingConfig { level: LogLevel::Error, format: LogFormat::Json };
        let (text, _) = capture_as(config, || panic::catch_unwind(|| panic!("index {} of 3", 7)));
        panic::set_hook(before);
        let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
        assert_eq!((&line["message"], &line["why"]), (&"panicked".into(), &"index 7 of 3".into()));
        assert!(line["at"].as_str().is_some_and(|at| at.contains("logging.rs:")), "{line}");
        assert!(is_sleds("/home/a/.cargo/registry/src/x/sled-0.34.7/src/pagecache/logger.rs"));
        assert!(!is_sleds("src/store/index/mod.rs"));
    }

    #[test]
    fn a_level_decides_for_our_crates_and_warn_for_others() {
        for (level, ours) in [
            (LogLevel::Error, 1),
            (LogLevel::Warn, 2),
            (LogLevel::Info, 3),
            (LogLevel::Debug, 4),
            (LogLevel::Trace, 5),
        ] {
            let json = lines(level, LogFormat::Json);
            let others = json.lines().filter(|line| line.contains("hyper::proto")).count();
            assert_eq!(json.lines().count() - others, ours, "{json}");
            assert_eq!(others, usize::from(level != LogLevel::Error), "{json}");
            assert!(!json.contains("quotes"), "{json}");
        }
    }

    #[test]
    fn text_has_no_colours_unless_on_a_terminal() {
        let text = lines(LogLevel::Info, LogFormat::Text);
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.contains("INFO revenium_agent::logging::tests: chunk committed"), "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let json = lines(LogLevel::Info, LogFormat::Json);
        let third = json.lines().nth(2).expect("three lines of ours");
        let object: serde_json::Value = serde_json::from_str(third).expect("is JSON");
        assert_eq!(
            (&object["level"], &object["records"], &object["message"]),
            (&"INFO".into(), &3.into(), &"chunk committed\nwith a second line".into())
        );
    }

    #[test]
    fn the_journal_gets_a_priority_on_every_line_and_no_time() {
        let target = "revenium_agent::logging::tests";
        assert_eq!(
            lines(LogLevel::Debug, LogFormat::Journald),
            format!(
                "<3>{target}: disk failed disk=\"sda\"\n\
                 <4>{target}: careful\n\
                 <6>{target}: chunk committed\n\
                 <6>with a second line records=3\n\
                 <7>{target}: a chunk\n\
                 <4>hyper::proto: of another crate\n"
            )
        );
    }
}
