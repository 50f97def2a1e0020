//! Keys that nobody asked for: what to say about them. Pure.

use std::collections::BTreeSet;

use toml::Value;

/// Keys of earlier releases, each with the one that took its place. None was released yet.
const RETIRED: &[(&str, &str)] = &[];

/// Farthest that a misspelt key may be from the one that is suggested.
const DISTANCE_MAX: usize = 2;

/// Whether `key` is one that was asked for, or the empty table of a known section.
pub(super) fn is_known(key: &str, value: &Value, known: &BTreeSet<String>) -> bool {
    let empty_section = || {
        let prefix = format!("{key}.");
        value.as_table().is_some_and(toml::Table::is_empty)
            && known.iter().any(|known| known.starts_with(&prefix))
    };
    known.contains(key) || empty_section()
}

/// What is wrong with `key`, and which key was probably meant.
pub(super) fn message(key: &str, known: &BTreeSet<String>) -> String {
    if let Some(successor) = successor(key, RETIRED) {
        return format!("was retired: use {successor}");
    }
    match nearest(key, known) {
        Some(meant) => format!("unknown key; did you mean {meant}?"),
        None => "unknown key".to_owned(),
    }
}

fn successor(key: &str, retired: &[(&'static str, &'static str)]) -> Option<&'static str> {
    retired.iter().find(|(old, _)| *old == key).map(|(_, new)| *new)
}

/// The same name in another section, else the same section with a name spelt nearly so.
fn nearest<'a>(key: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let name = key.rsplit('.').next().unwrap_or(key);
    if let Some(same) = known.iter().find(|known| last(known) == name) {
        return Some(same);
    }
    let distances = known.iter().map(|known| (distance(key, known), known.as_str()));
    distances.filter(|(distance, _)| *distance <= DISTANCE_MAX).min().map(|(_, known)| known)
}

/// Letters to insert, remove or replace to get from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_told_what_was_probably_meant() {
        let known = ["drain.backoff_max", "store.capacity_bytes", "data_dir"];
        let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
        for (key, expected) in [
            ("drain.backof_max", "unknown key; did you mean drain.backoff_max?"),
            ("capacity_bytes", "unknown key; did you mean store.capacity_bytes?"),
            ("drain.capacity_bytes", "unknown key; did you mean store.capacity_bytes?"),
            ("datadir", "unknown key; did you mean data_dir?"),
            ("colour", "unknown key"),
        ] {
            assert_eq!(message(key, &known), expected);
        }
    }

    #[test]
    fn a_retired_key_names_its_successor() {
        let retired = [("drain.rate", "drain.requests_per_second_max")];
        assert_eq!(successor("drain.rate", &retired), Some("drain.requests_per_second_max"));
        assert_eq!(successor("drain.rates", &retired), None);
    }

    #[test]
    fn an_empty_section_is_known_only_if_its_name_is() {
        let known = BTreeSet::from(["drain.proxy".to_owned()]);
        let empty = Value::Table(toml::Table::new());
        assert!(is_known("drain", &empty, &known));
        assert!(!is_known("drains", &empty, &known));
        assert!(!is_known("drain", &Value::Boolean(true), &known));
    }
}
