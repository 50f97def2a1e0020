//! What the pages say exists: links lead somewhere, names are in the code, tests that a promise
//! names are tests.

use std::collections::BTreeSet;

use revenium_agent::metrics::Metrics;

use crate::{none, tree};

fn pages() -> Vec<(String, String)> {
    let pages: Vec<_> = tree::files(&["md"]).into_iter().map(|name| (tree::read(&name), name)).collect();
    assert!(pages.len() >= 5, "the pages were not found");
    pages.into_iter().map(|(text, name)| (name, text)).collect()
}

/// What stands between single backticks on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Lines outside of fenced blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
            return None;
        }
        (!is_fenced).then_some((i + 1, line))
    })
}

fn is_snake(name: &str) -> bool {
    name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect()
}

#[test]
fn links_lead_somewhere() {
    let mut found = Vec::new();
    for (name, text) in pages() {
        let folder = tree::root().join(&name).parent().expect("a folder").to_owned();
        for (line, prose) in prose(&text) {
            for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
                if link.contains("://") || link.starts_with("mailto:") {
                    continue;
                }
                let target = if path.is_empty() { tree::root().join(&name) } else { folder.join(path) };
                if !target.exists() {
                    found.push(format!("{name}:{line}: {link} is not there"));
                } else if !anchor.is_empty()
                    && !anchors(&std::fs::read_to_string(target).expect("a page")).contains(anchor)
                {
                    found.push(format!("{name}:{line}: {link} names no heading"));
                }
            }
        }
    }
    none(&found, "a link of the pages is broken");
}

/// The anchors of a page's headings, as code hosts make them.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings =
        prose(page).filter_map(|(_, line)| line.starts_with('#').then_some(line.trim_start_matches('#')));
    let keeps = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    headings
        .map(|h| h.trim().to_lowercase().chars().filter(keeps).collect::<String>().replace(' ', "-"))
        .collect()
}

#[test]
fn names_in_the_pages_are_names_in_the_code() {
    let code: String =
        tree::files(&["rs", "toml", "sh", "py"]).iter().map(|name| tree::read(name) + "\n").collect();
    let known = words(&code);
    let mut found = Vec::new();
    for (name, text) in pages() {
        for (line, prose) in prose(&text) {
            for quoted in
                quoted(prose).filter(|quoted| is_snake(quoted) && !quoted.starts_with("revenium_agent_"))
            {
                if !known.contains(quoted) {
                    found.push(format!("{name}:{line}: {quoted}"));
                }
            }
        }
    }
    none(&found, "a page names what is not there");
}

#[test]
fn files_in_the_pages_are_there() {
    let mut found = Vec::new();
    for (name, text) in pages() {
        for (line, prose) in prose(&text) {
            let looks_ours = |quoted: &&str| {
                ["src/", "tests/", "migrations/", "ops/", "benches/", "examples/"]
                    .iter()
                    .any(|top| quoted.starts_with(top))
                    && !quoted.contains(['*', ' ', '<'])
            };
            for path in quoted(prose).filter(looks_ours).filter(|path| !tree::root().join(path).exists()) {
                found.push(format!("{name}:{line}: {path}"));
            }
        }
    }
    none(&found, "a page names a file that is not there");
}

#[test]
fn metrics_in_the_pages_are_metrics() {
    let metrics = Metrics::new(&["default".to_owned()], &["account".to_owned()], "0").render(None, 0);
    let known = words(&metrics);
    let mut found = Vec::new();
    for (name, text) in pages() {
        for word in words(&text).into_iter().filter(|word| word.starts_with("revenium_agent_")) {
            if !known.contains(word) {
                found.push(format!("{name}: {word}"));
            }
        }
    }
    none(&found, "a page names a metric that the agent does not have");
}

#[test]
fn every_sentence_of_the_promise_is_held_by_a_test() {
    let code: String = tree::sources().into_iter().map(|source| source.text).collect();
    let readme = tree::read("README.md");
    let section =
        readme.split("\n## ").find(|section| section.starts_with("The promise")).expect("the section");
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() >= 6, "the table of the promise was not found");
    let mut found = Vec::new();
    for row in rows {
        let tests: Vec<&str> = quoted(row).filter(|name| is_snake(name)).collect();
        if tests.is_empty() {
            found.push(format!("no test is named: {row}"));
        }
        let missing = tests.into_iter().filter(|test| !code.contains(&format!("fn {test}(")));
        found.extend(missing.map(|test| format!("there is no test {test}: {row}")));
    }
    none(&found, "a promise without a test is a wish");
}

#[test]
fn exit_codes_in_the_readme_are_those_of_the_code() {
    let code = tree::read("src/agent/exit.rs");
    let of_code: Vec<&str> =
        code.lines().filter_map(|line| line.strip_prefix("//! ")).filter(|l| is_code(l)).collect();
    let readme = tree::read("README.md");
    let of_readme: Vec<&str> = readme.lines().filter(|line| is_code(line)).collect();
    assert!(!of_code.is_empty());
    assert_eq!(of_readme, of_code);
}

/// Whether a row of a table begins with a number.
fn is_code(row: &str) -> bool {
    let first = row.strip_prefix("| ").and_then(|rest| rest.split(' ').next());
    first.is_some_and(|first| !first.is_empty() && first.bytes().all(|b| b.is_ascii_digit()))
}
