//! `ops/config/agent.toml` has every key, and says of each the default that the code has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use revenium_agent::config::{Config, Entry, Flags, Surroundings};

use crate::tree;

fn load(config: PathBuf) -> Config {
    let flags = Flags { config: Some(config), ..Flags::default() };
    let around = Surroundings::new(1000, [("HOME", "/home/someone")]);
    Config::load(&flags, &around).expect("the configuration is right")
}

fn without_sources(entries: &[Entry]) -> Vec<(&str, &str)> {
    entries.iter().map(|entry| (entry.key.as_str(), entry.shown.as_str())).collect()
}

#[test]
fn the_sample_means_exactly_the_defaults() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let defaults = load(empty.path().to_owned());
    let sample = load(tree::root().join("ops/config/agent.toml"));
    assert_eq!(without_sources(&sample.entries), without_sources(&defaults.entries));
}

#[test]
fn the_sample_has_every_key_once_and_no_other() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let known: BTreeSet<String> = load(empty.path().to_owned()).entries.into_iter().map(|e| e.key).collect();
    let mut section = String::new();
    let mut found = BTreeSet::new();
    for line in tree::read("ops/config/agent.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
            continue;
        }
        // "# text" is prose; "#key = value" is a key without a fixed default.
        let written = line.strip_prefix('#').unwrap_or(line);
        if let Some((key, _)) = written.split_once(" = ")
            && !key.contains(' ')
        {
            assert!(found.insert(format!("{section}{key}")), "{section}{key} is there twice");
        }
    }
    assert_eq!(found, known);
}
