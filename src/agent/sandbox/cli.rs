//! The stand-in as a process of its own, for tests and benchmarks.
//!
//! `revenium-agent sandbox --listen 127.0.0.1:0 --journal FILE --faults SEED`. Prints one line of
//! JSON, `{"sandbox":"127.0.0.1:PORT"}`, once it listens, and ends on SIGTERM, SIGINT, or, with
//! `--with-stdin`, when its standard input closes (so that it never outlives a killed test).

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use super::faults::{Chance, Class, Script};
use super::options::{OnReceived, Options};
use super::server::{Sandbox, StartError};
use super::{Detail, Window};

/// Run a stand-in for Revenium on this machine, for tests.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// An API key to accept, KEY or KEY=ACCOUNT; may be given more than once [default: hak_sandbox=sandbox].
    #[arg(long = "key", value_name = "KEY[=ACCOUNT]")]
    pub keys: Vec<String>,
    /// Answer as fast as possible: no rules, windows or limits, only counts.
    #[arg(long)]
    pub bench: bool,
    /// How long every answer takes.
    #[arg(long, default_value_t = 0, value_name = "MS")]
    pub latency_ms: u64,
    /// Requests per second and account, 0: no limit [default: 1000; 0 with --bench or --faults].
    #[arg(long, value_name = "N")]
    pub rate_limit: Option<u32>,
    /// How long a transactionId is remembered: off, unlimited, or seconds.
    #[arg(long, value_parser = window, value_name = "WINDOW")]
    pub transaction_window: Option<Window>,
    /// How long an Idempotency-Key is remembered: off, unlimited, or seconds.
    #[arg(long, value_parser = window, value_name = "WINDOW")]
    pub idempotency_window: Option<Window>,
    /// A file to append what was received to.
    #[arg(long, value_name = "FILE")]
    pub journal: Option<PathBuf>,
    /// Put the body on the journal's billed lines.
    #[arg(long, requires = "journal")]
    pub journal_bodies: bool,
    /// Faults by chance, from this seed.
    #[arg(long, value_name = "SEED")]
    pub faults: Option<u64>,
    /// Of a thousand attempts, how many meet a fault.
    #[arg(long, default_value_t = 300, requires = "faults", value_name = "N")]
    pub fault_per_mille: u32,
    /// Which classes of faults chance draws from.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "transient,blocking",
        requires = "faults",
        value_name = "CLASS"
    )]
    pub fault_classes: Vec<FaultClass>,
    /// A fault script as JSON.
    #[arg(long, conflicts_with = "faults", value_name = "JSON")]
    pub fault_script: Option<String>,
    /// Print a line per received event.
    #[arg(long)]
    pub print: bool,
    /// End when standard input closes.
    #[arg(long)]
    pub with_stdin: bool,
}

/// [`Class`] as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultClass {
    /// Trying again delivers the record.
    Transient,
    /// A sender pauses; the record stays deliverable.
    Blocking,
    /// The record is refused for good.
    Refusing,
}

/// Why `revenium-agent sandbox` ended badly.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The fault script isn't one.
    #[error("cannot read the fault script")]
    FaultScript(#[source] serde_json::Error),
    /// It did not start.
    #[error("cannot start the sandbox")]
    Start(#[from] StartError),
    /// Standard output or the signals can't be had.
    #[error("cannot talk to the terminal")]
    Io(#[from] io::Error),
}

impl Args {
    /// The options that these arguments mean.
    pub fn options(&self) -> Result<Options, CliError> {
        let latency = Duration::from_millis(self.latency_ms);
        let mut options = match (self.bench, self.faults) {
            (true, _) => Options::bench(latency),
            (false, Some(seed)) => Options { latency, ..Options::storm(seed) },
            (false, None) => Options { latency, ..Options::default() },
        };
        options.listen = self.listen;
        if !self.keys.is_empty() {
            options.keys = keys(&self.keys);
        }
        if let Some(requests_per_second) = self.rate_limit {
            options.requests_per_second = requests_per_second;
        }
        options.transaction_window = self.transaction_window.unwrap_or(options.transaction_window);
        options.idempotency_window = self.idempotency_window.unwrap_or(options.idempotency_window);
        options.journal.clone_from(&self.journal);
        options.journal_has_bodies = self.journal_bodies;
        if let Some(seed) = self.faults {
            let classes: Vec<Class> = self.fault_classes.iter().map(|class| (*class).into()).collect();
            let chance = Chance::new(seed, self.fault_per_mille, &classes);
            options.faults = Script { steps: Vec::new(), chance: Some(chance) };
        }
        if let Some(script) = &self.fault_script {
            options.faults = serde_json::from_str(script).map_err(CliError::FaultScript)?;
        }
        if options.journal.is_some() {
            options.detail = Detail::Full;
        }
        if self.print {
            options.on_received = Some(OnReceived::new(|received| {
                // A closed terminal doesn't stop the stand-in.
                let _ = writeln!(io::stdout(), "{}", received.line());
            }));
        }
        Ok(options)
    }
}

impl From<FaultClass> for Class {
    fn from(class: FaultClass) -> Self {
        match class {
            FaultClass::Transient => Self::Transient,
            FaultClass::Blocking => Self::Blocking,
            FaultClass::Refusing => Self::Refusing,
        }
    }
}

fn keys(written: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| match text.split_once('=') {
        Some((key, account)) => (key.to_owned(), account.to_owned()),
        None => (text.clone(), "sandbox".to_owned()),
    };
    written.iter().map(split).collect()
}

fn window(text: &str) -> Result<Window, String> {
    match text {
        "off" => Ok(Window::Off),
        "unlimited" => Ok(Window::Unlimited),
        seconds => seconds
            .parse()
            .map(|seconds| Window::For(Duration::from_secs(seconds)))
            .map_err(|_| "expected off, unlimited or a number of seconds".to_owned()),
    }
}

/// Runs a stand-in until it is told to end.
pub async fn serve_cli(args: Args) -> Result<(), CliError> {
    let with_stdin = args.with_stdin;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sandbox, server) = Sandbox::bind(args.options()?).await?;
    let mut out = io::stdout();
    writeln!(out, "{}", serde_json::json!({"sandbox": sandbox.addr()}))?;
    out.flush()?;
    let ended = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closes(), if with_stdin => {}
        }
        sandbox.stop();
    };
    tokio::join!(server.run(), ended);
    Ok(())
}

/// Returns at the end of standard input; what comes before it is read and dropped.
async fn stdin_closes() {
    let (closed, is_closed) = oneshot::channel();
    // A thread of its own, never joined: a read that the runtime knows of would keep the process
    // from ending on a signal.
    std::thread::spawn(move || {
        let end = io::copy(&mut io::stdin().lock(), &mut io::sink());
        // Nobody listens when a signal came first.
        let _ = closed.send(end);
    });
    let _ = is_closed.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &[&str]) -> Options {
        use clap::Parser;
        let words = std::iter::once("sandbox").chain(line.iter().copied());
        Command::try_parse_from(words).expect("arguments").args.options().expect("options")
    }

    #[test]
    fn without_arguments_it_behaves_as_revenium_does() {
        let options = options(&[]);
        assert_eq!(options.keys, BTreeMap::from([("hak_sandbox".to_owned(), "sandbox".to_owned())]));
        assert_eq!((options.requests_per_second, options.has_rules), (1_000, true));
        assert_eq!(options.faults, Script::default());
    }

    #[test]
    fn a_seed_is_a_storm_without_limits() {
        let options = options(&["--faults", "7", "--transaction-window", "off", "--key", "hak_a=one"]);
        assert_eq!(options.faults, Script::storm(7));
        assert_eq!((options.requests_per_second, options.transaction_window), (0, Window::Off));
        assert_eq!(options.keys, BTreeMap::from([("hak_a".to_owned(), "one".to_owned())]));
    }

    #[test]
    fn a_bench_counts_only_and_windows_are_in_seconds() {
        let bench = options(&["--bench", "--latency-ms", "300"]);
        assert_eq!((bench.detail, bench.latency), (Detail::Counts, Duration::from_millis(300)));
        let windows = options(&["--idempotency-window", "60", "--transaction-window", "unlimited"]);
        assert_eq!(windows.idempotency_window, Window::For(Duration::from_secs(60)));
        assert_eq!(windows.transaction_window, Window::Unlimited);
    }

    #[test]
    fn a_script_may_be_given_and_a_bad_one_is_told() {
        let script = r#"{"steps":[{"fault":{"kind":"503"},"times":1}]}"#;
        assert_eq!(options(&["--fault-script", script]).faults.steps.len(), 1);
        use clap::Parser;
        let bad = Command::try_parse_from(["sandbox", "--fault-script", "{"]).expect("arguments");
        assert!(matches!(bad.args.options(), Err(CliError::FaultScript(_))));
    }
}
