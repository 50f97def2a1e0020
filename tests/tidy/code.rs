//! What code that runs may not do, and the places that may.

use std::collections::BTreeMap;

use crate::none;
use crate::tree::{self, Source};

/// Where tasks and threads begin.
const SPAWNS: [(&str, &str); 11] = [
    ("src/agent/tasks.rs", "the one place that spawns tasks: named, staged, joined"),
    ("src/agent/intake/server.rs", "connections, joined by their server; it outlives no stop"),
    ("src/agent/drain/mod.rs", "one loop per account, joined by the drain"),
    ("src/agent/drain/work.rs", "requests in flight, joined by their account's loop"),
    ("src/agent/sandbox/server.rs", "the stand-in's connections; it is no part of a real agent"),
    ("src/agent/sandbox/handler.rs", "answers that the stand-in gives late"),
    ("src/agent/sandbox/cli.rs", "watches standard input, which cannot be polled"),
    ("src/emitter/emitter.rs", "the emitter's one thread, started by the first event; closing waits for it"),
    ("src/emitter/carrier/handing_in.rs", "hands files in while events go on; joined by the carrier"),
    ("src/store/store.rs", "the store's four threads, joined when it closes"),
    ("src/store/index/open.rs", "opens sled, which may hang for ever, within a time limit"),
];

/// Files with `unsafe` code.
const UNSAFE: [(&str, &str); 3] = [
    ("src/agent/inherited.rs", "closes descriptors and resets signals that an agent was started with"),
    ("src/agent/intake/peer.rs", "SO_PEERGROUPS and SO_PEERCRED, which no safe wrapper has, or has right"),
    ("src/agent/systemd/environment.rs", "owns descriptors passed by number, and unsets what passed them"),
];

/// Where the process ends, or becomes another program.
const ENDS: [(&str, &str); 1] =
    [("src/agent/commands/exec/mod.rs", "it becomes the command that it was given, and had begun nothing")];

fn code_that_runs() -> Vec<Source> {
    tree::sources().into_iter().filter(|source| !source.is_test()).collect()
}

/// Places that are not listed, and listed files in which there is none.
fn outside_of(list: &[(&str, &str)], places: &BTreeMap<String, Vec<usize>>) -> Vec<String> {
    let is_listed = |name: &str| list.iter().any(|(file, _)| *file == name);
    let unlisted = places.iter().filter(|(name, _)| !is_listed(name));
    let mut found: Vec<String> =
        unlisted.flat_map(|(name, lines)| lines.iter().map(move |line| format!("{name}:{line}"))).collect();
    let stale = list.iter().filter(|(file, _)| !places.contains_key(*file));
    found.extend(stale.map(|(file, _)| format!("{file}: has none any more; take it off the list")));
    found
}

fn places(sources: &[Source], lines: impl Fn(&Source) -> Vec<usize>) -> BTreeMap<String, Vec<usize>> {
    let all = sources.iter().map(|source| (source.name.clone(), lines(source)));
    all.filter(|(_, lines)| !lines.is_empty()).collect()
}

#[test]
fn tasks_and_threads_begin_where_they_are_named_and_joined() {
    let begins = |source: &Source| {
        let calls = [
            "tokio::spawn",
            "task::spawn",
            "spawn_blocking",
            "spawn_local",
            "thread::spawn",
            "thread::Builder",
            "JoinSet::new",
        ];
        let mut lines: Vec<usize> = calls.iter().flat_map(|call| source.lines_with(call)).collect();
        // A set that is the default of its struct is made without its name.
        lines.extend(source.lines_with("JoinSet"));
        lines.sort_unstable();
        lines.dedup();
        lines
    };
    let found = outside_of(&SPAWNS, &places(&code_that_runs(), begins));
    none(&found, "spawn with `tasks::Tasks` or `tasks::Group`, so that it is named, bounded and joined");
}

#[test]
fn unsafe_code_is_where_it_is_listed() {
    let found = outside_of(&UNSAFE, &places(&code_that_runs(), |source| source.lines_with("unsafe")));
    none(&found, "find a safe wrapper, or list the file with its reason in tests/tidy/code.rs");
}

#[test]
fn code_that_runs_does_not_unwrap() {
    let words = ["unwrap", "unwrap_err", "unwrap_unchecked", "todo", "unimplemented", "dbg"];
    let lines = |source: &Source| words.iter().flat_map(|word| source.lines_with(word)).collect();
    let found = outside_of(&[], &places(&code_that_runs(), lines));
    none(&found, "return a typed error, or `expect` the invariant that makes it impossible");
}

#[test]
fn nothing_ends_the_process_behind_mains_back() {
    let lines = |source: &Source| {
        let words = ["process::exit", "process::abort", "CommandExt"];
        words.iter().flat_map(|word| source.lines_with(word)).collect()
    };
    none(
        &outside_of(&ENDS, &places(&code_that_runs(), lines)),
        "return an `Exit`: what was begun must be closed",
    );
}
