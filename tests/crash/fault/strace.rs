//! The agent under strace, and what strace saw.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::case::{CALLS, Of, Strike, What};
use super::place::Place;
use crate::support::{Home, names};

/// What strace prints of bytes: enough for the small chunks of a commit.
const BYTES_SHOWN: &str = "1024";

/// `args` of the agent under strace, which writes what it sees to `trace`. The process is the agent's own.
pub(crate) fn command(home: &Home, trace: &Path, strike: Option<(What, Strike)>, args: &[&str]) -> Command {
    let agent = home.command(&[]);
    let mut command = Command::new("strace");
    command.env_clear().current_dir(agent.get_current_dir().expect("set"));
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.args(["-D", "-f", "-qq", "-y", "-s", BYTES_SHOWN, "-o"]).arg(trace);
    // So that only what is traced stops the agent. A signal gets lost then, strace 6.1 says nothing of it.
    if !matches!(strike, Some((What::Kill, _))) {
        command.arg("--seccomp-bpf");
    }
    command.args(["-e", &format!("trace={}", CALLS.join(","))]);
    if let Some((what, Strike { call, at, of })) = strike {
        if let Some(of) = of {
            let dir = home.path("data/store");
            // One that is gone is struck nowhere.
            let name = names(&dir).into_iter().find(|name| name.starts_with(of.file()));
            command.arg("-P").arg(dir.join(name.unwrap_or_default()));
        }
        let how = match what {
            What::Kill => "signal=KILL".to_owned(),
            What::Error(name) => format!("error={name}"),
        };
        command.args(["-e", &format!("inject={call}:{how}:when={at}")]);
    }
    command.arg(agent.get_program()).args(args);
    command
}

/// How many calls strace has made fail so far.
pub(crate) fn injected(trace: &Path) -> u64 {
    let text = fs::read(trace).map(|text| String::from_utf8_lossy(&text).into_owned());
    text.map_or(0, |text| text.lines().filter(|line| is_injected(line)).count() as u64)
}

fn is_injected(line: &str) -> bool {
    line.ends_with("(INJECTED)")
}

/// One call, as it was entered.
#[derive(Debug)]
struct Entry {
    thread: u32,
    call: String,
    args: String,
}

/// What a life did.
#[derive(Debug)]
pub(crate) struct Trace {
    entries: Vec<Entry>,
    /// Calls that strace made fail.
    pub(crate) injected: u64,
    /// Bytes of the log that a failed flush was to keep, and that no later one did.
    unkept: BTreeMap<PathBuf, BTreeSet<(u64, u64)>>,
}

impl Trace {
    /// Reads what strace wrote about a life that has ended.
    pub(crate) fn read(path: &Path) -> Self {
        // What the agent writes is not all text; strace escapes it.
        let text = String::from_utf8_lossy(&fs::read(path).expect("strace wrote it")).into_owned();
        let mut trace = Self { entries: Vec::new(), injected: 0, unkept: BTreeMap::new() };
        let mut unflushed = BTreeMap::new();
        let mut flushing: BTreeMap<u32, PathBuf> = BTreeMap::new();
        for line in text.lines() {
            let Some((thread, line)) = line.trim_start().split_once(' ') else { continue };
            let Ok(thread) = thread.parse::<u32>() else { continue };
            let line = line.trim_start();
            if !line.starts_with('<')
                && let Some((call, args)) = line.split_once('(')
            {
                let path = || args.split_once('<').and_then(|(_, path)| Some(path.split_once('>')?.0.into()));
                match (call, path()) {
                    ("pwrite64", Some(path)) if args.contains("/seg-") => {
                        unflushed.entry(path).or_insert_with(BTreeSet::new).extend(range(args));
                    }
                    ("fdatasync", Some(path)) => drop(flushing.insert(thread, path)),
                    _ => {}
                }
                trace.entries.push(Entry { thread, call: call.to_owned(), args: args.to_owned() });
            }
            let is_injected = is_injected(line);
            trace.injected += u64::from(is_injected);
            if line.contains("fdatasync")
                && line.contains(" = ")
                && let Some(path) = flushing.remove(&thread)
            {
                let ranges = unflushed.remove(&path).unwrap_or_default();
                let unkept = trace.unkept.entry(path).or_default();
                if is_injected {
                    unkept.extend(ranges);
                } else {
                    unkept.retain(|range| !ranges.contains(range));
                }
            }
        }
        trace
    }

    /// The places of the first call of a kind that any thread makes, the first second one, and so on: where the
    /// N-th of them will be struck.
    pub(crate) fn firsts(&self, call: &str, of: Option<Of>, index_is_lost: bool) -> Vec<Place> {
        let is_of = |args: &str| of.is_none_or(|of| args.contains(&format!("/store/{}", of.file())));
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let mut firsts = Vec::new();
        for Entry { thread, args, .. } in
            self.entries.iter().filter(|entry| entry.call == call && is_of(&entry.args))
        {
            let count = counts.entry(*thread).or_default();
            *count += 1;
            if *count > firsts.len() {
                firsts.push(Place::of(call, args, index_is_lost));
            }
        }
        firsts
    }

    /// Where the N-th call was, if it came to that.
    pub(crate) fn struck(&self, strike: Strike, index_is_lost: bool) -> Option<Place> {
        let at = usize::try_from(strike.at).expect("is small");
        self.firsts(strike.call, strike.of, index_is_lost).get(at - 1).copied()
    }

    /// Loses what failed flushes did not keep, as a kernel may. Returns how many bytes.
    pub(crate) fn lose_unkept(&self) -> io::Result<u64> {
        let mut lost = 0;
        for (path, ranges) in &self.unkept {
            for (offset, bytes) in ranges {
                match File::options().write(true).open(path) {
                    Ok(file) => {
                        file.write_all_at(&vec![0; usize::try_from(*bytes).expect("small")], *offset)?
                    }
                    // It was removed, or has another name and another life.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                lost += bytes;
            }
        }
        Ok(lost)
    }
}

/// Offset and length of a write: its last two arguments.
fn range(args: &str) -> Option<(u64, u64)> {
    let args = match args.strip_suffix(" <unfinished ...>") {
        Some(args) => args,
        None => args.rsplit_once(") = ")?.0,
    };
    let mut last = args.rsplit(", ");
    let (offset, bytes) = (last.next()?.parse().ok()?, last.next()?.parse().ok()?);
    Some((offset, bytes))
}
