//! The shape of files: how long they are, how they begin, what they leave open.

use crate::{none, tree};

/// A file holds one idea; at this length, look for the second.
const LINES_MAX: usize = 400;

/// Longer files, each with what keeps its parts together.
const LONGER: [(&str, &str); 3] = [
    ("migrations/log_v1.rs", "a frozen format in one place, most of it the docs of its fields"),
    ("src/store/committer.rs", "the one writer of the log: its order of steps is the promise"),
    (
        "src/store/store.rs",
        "the store's public methods, each with its contract, and the threads they stand on",
    ),
];

#[test]
fn a_file_holds_one_idea() {
    let mut found = Vec::new();
    for source in tree::sources() {
        let lines = source.text.lines().count();
        let is_listed = LONGER.iter().any(|(file, _)| *file == source.name);
        if lines > LINES_MAX && !is_listed {
            found.push(format!("{} has {lines} lines: find its second idea", source.name));
        }
        if lines <= LINES_MAX && is_listed {
            found.push(format!("{} has {lines} lines by now: take it off the list", source.name));
        }
    }
    let gone = LONGER.iter().filter(|(file, _)| !tree::root().join(file).is_file());
    found.extend(gone.map(|(file, _)| format!("{file} is gone: take it off the list")));
    none(&found, "files have at most 400 lines");
}

#[test]
fn a_file_begins_with_what_it_is() {
    let without = tree::sources().into_iter().filter(|source| !source.text.starts_with("//!"));
    let found: Vec<String> = without.map(|source| source.name).collect();
    none(&found, "a file begins with `//!`: what it is, what it promises, what it leaves to others");
}

#[test]
fn an_open_end_names_its_issue() {
    let mut found = Vec::new();
    for name in tree::files(&["rs", "toml", "sh", "md", "py", "yml"]) {
        if name.starts_with("tests/tidy/") {
            continue;
        }
        for (i, line) in tree::read(&name).lines().enumerate() {
            let open = ["TODO", "FIXME", "XXX", "HACK"].iter().find_map(|mark| {
                let at = line.find(mark)?;
                let alone = !line[..at].ends_with(char::is_alphanumeric);
                (alone && !names_issue(&line[at..])).then_some(mark)
            });
            if let Some(mark) = open {
                found.push(format!("{name}:{}: {mark}", i + 1));
            }
        }
    }
    none(&found, "write TODO(#n) with the number of an open issue, or do it");
}

fn names_issue(open: &str) -> bool {
    let number = open.strip_prefix("TODO(#").and_then(|rest| rest.split_once(')')).map(|(number, _)| number);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[test]
fn only_a_todo_with_a_number_names_an_issue() {
    let table = [
        ("TODO(#12): x", true),
        ("TODO: x", false),
        ("TODO(#)", false),
        ("TODO(#n)", false),
        ("FIXME(#1)", false),
    ];
    for (text, expected) in table {
        assert_eq!(names_issue(text), expected, "{text}");
    }
}
