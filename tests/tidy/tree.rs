//! The repository as the checks see it: its files, and the code in them without comments, texts
//! and tests.

use std::path::{Path, PathBuf};

/// Folders that are not ours to judge.
const NOT_OURS: [&str; 3] = ["target", ".git", "node_modules"];

/// A Rust file.
pub(crate) struct Source {
    /// Its path from the root.
    pub(crate) name: String,
    pub(crate) text: String,
    /// The text with comments, texts and `#[cfg(test)]` items blanked; lines stay where they are.
    pub(crate) code: String,
}

impl Source {
    /// Whether all of the file is test or benchmark.
    pub(crate) fn is_test(&self) -> bool {
        let folder = |name: &str| self.name.starts_with(&format!("{name}/"));
        folder("tests")
            || folder("benches")
            || self.name.contains("/tests/")
            || self.name.contains("/benches/")
            || self.name.ends_with("tests.rs")
    }

    /// Lines of the code, from 1, in which `word` stands by itself.
    pub(crate) fn lines_with(&self, word: &str) -> Vec<usize> {
        let is_ident = |c: char| c.is_alphanumeric() || c == '_';
        let stands_alone = |line: &str, at: usize| {
            !line[..at].ends_with(is_ident) && !line[at + word.len()..].starts_with(is_ident)
        };
        let has = |line: &str| line.match_indices(word).any(|(at, _)| stands_alone(line, at));
        self.code.lines().enumerate().filter(|(_, line)| has(line)).map(|(i, _)| i + 1).collect()
    }
}

/// The repository's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file, named from the root.
pub(crate) fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("cannot read {name}: {error}"))
}

/// Names of all files with one of these extensions, from the root, in order.
pub(crate) fn files(extensions: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    walk(root(), &mut found);
    let name = |path: &PathBuf| path.strip_prefix(root()).expect("under the root").display().to_string();
    let fits = |name: &String| extensions.iter().any(|e| name.ends_with(&format!(".{e}")));
    let mut names: Vec<String> = found.iter().map(name).filter(fits).collect();
    names.sort();
    names
}

/// Every Rust file.
pub(crate) fn sources() -> Vec<Source> {
    let sources: Vec<Source> = files(&["rs"])
        .into_iter()
        .map(|name| {
            let text = read(&name);
            let code = without_tests(&without_texts(&text));
            Source { name, text, code }
        })
        .collect();
    assert!(sources.len() > 100, "the repository was not found");
    sources
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    for entry in entries {
        let path = entry.expect("an entry").path();
        let is_ours = path.file_name().is_none_or(|n| NOT_OURS.iter().all(|other| n != *other));
        if path.is_dir() && is_ours {
            walk(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
}

/// Blanks comments, strings and character literals.
fn without_texts(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        let end = text_end(bytes, at);
        match end {
            Some(end) => out.extend(bytes[at..end].iter().map(|b| if *b == b'\n' { b'\n' } else { b' ' })),
            None => out.push(bytes[at]),
        }
    }
    String::from_utf8(out).expect("whole characters were blanked")
}

/// Where the comment or literal that begins at `at` ends, if one does.
fn text_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        let mut depth = 0;
        for i in 0..rest.len() {
            depth += i32::from(rest[i..].starts_with(b"/*")) - i32::from(rest[i..].starts_with(b"*/"));
            if depth == 0 && rest[i..].starts_with(b"*/") {
                return Some(at + i + 2);
            }
        }
        return Some(bytes.len());
    }
    let after_ident = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    let prefix = rest.iter().take_while(|b| b"bcr".contains(b)).count();
    if !after_ident && rest[..prefix].ends_with(b"r") {
        let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
        if rest.get(prefix + hashes) == Some(&b'"') {
            let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
            let body = prefix + hashes + 1;
            let length = rest[body..].windows(close.len()).position(|w| w == close);
            return Some(length.map_or(bytes.len(), |n| at + body + n + close.len()));
        }
    }
    match rest[0] {
        b'"' => Some(quoted_end(bytes, at, b'"')),
        // A lifetime has no closing quote behind its first character.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(quoted_end(bytes, at, b'\'')),
        b'\'' => {
            let char_bytes = std::str::from_utf8(&rest[1..]).ok()?.chars().next()?.len_utf8();
            (rest.get(1 + char_bytes) == Some(&b'\'')).then_some(at + char_bytes + 2)
        }
        _ => None,
    }
}

fn quoted_end(bytes: &[u8], at: usize, quote: u8) -> usize {
    let mut i = at + 1;
    while i < bytes.len() && bytes[i] != quote {
        i += if bytes[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(bytes.len())
}

/// Blanks items that are compiled for tests only.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(at) = out.find("#[cfg(test)]") {
        let end = at + item_end(&out[at..]);
        let blank: String = out[at..end].chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
        out.replace_range(at..end, &blank);
    }
    out
}

/// Where the item ends that begins, with its attributes, here.
fn item_end(item: &str) -> usize {
    let is_use = item.lines().find(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty());
    let is_use = is_use.is_some_and(|line| line.trim_start().starts_with("use "));
    let mut depth = 0;
    for (i, c) in item.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => {
                depth -= 1;
                if depth == 0 && c == '}' && !is_use {
                    return i + 1;
                }
            }
            ';' if depth == 0 => return i + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn comments_texts_and_tests_are_no_code() {
    let text = r####"use a; // one.unwrap()
/* two /* nested */ .unwrap() */ fn f<'a>(x: &'a str) -> char { '"' }
const S: &str = "three\".unwrap()"; const R: &[u8] = br#"four".unwrap()"#; const Q: char = '\'';
#[cfg(test)]
use std::{five, six};
#[cfg(test)]
#[path = "x.rs"]
mod tests;
#[cfg(test)]
mod tests { fn seven() { if true { x.unwrap() } } }
fn eight() { y.unwrap() }
"####;
    let code = without_tests(&without_texts(text));
    let source = Source { name: "src/a.rs".into(), text: text.into(), code };
    assert_eq!(source.lines_with("unwrap"), [11]);
    assert_eq!((source.lines_with("five"), source.lines_with("tests")), (vec![], vec![]));
    assert_eq!((source.lines_with("str"), source.lines_with("Q")), (vec![2, 3], vec![3]));
}
