//! Reads typed values out of what was written.
//!
//! Each call names a key, its default and its bounds; together the calls are the list of keys that
//! exist. Problems are collected and a default stands in, so that one run reports them all;
//! [`Reader::finish`] then refuses the whole configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Value;

use super::layers::{RawConfig, Written};
use super::{ConfigError, Entry, Problem, Source, unit, unknown};
use crate::secret::Secret;

pub(super) struct Reader {
    written: BTreeMap<String, Written>,
    known: BTreeSet<String>,
    entries: Vec<Entry>,
    problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn new(raw: &mut RawConfig) -> Self {
        Self {
            written: std::mem::take(&mut raw.values),
            known: BTreeSet::new(),
            entries: Vec::new(),
            problems: std::mem::take(&mut raw.problems),
        }
    }

    /// What `check` prints, and every problem, a key that nobody asked for among them.
    pub(super) fn finish(mut self) -> (Vec<Entry>, Vec<Problem>) {
        for (key, written) in &self.written {
            if !unknown::is_known(key, &written.value, &self.known) {
                let message = unknown::message(key, &self.known);
                let source = written.source.clone();
                self.problems.push(Problem { source, key: key.clone(), message, is_of_key: false });
            }
        }
        (self.entries, self.problems)
    }

    /// Whether everything read so far is right; for a caller that reads only a part.
    pub(super) fn problems_so_far(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError { problems: self.problems }) }
    }

    /// Adds to what `check` prints as the value of `key`.
    pub(super) fn annotate(&mut self, key: &str, note: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.key == key) {
            entry.shown.push_str(note);
        }
    }

    /// Whether `key` was written at all.
    pub(super) fn has(&self, key: &str) -> bool {
        self.written.contains_key(key)
    }

    /// Where the value of `key` comes from.
    pub(super) fn source(&self, key: &str) -> Source {
        self.written.get(key).map_or(Source::Default, |written| written.source.clone())
    }

    /// Refuses the value of `key`.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let source = self.source(key);
        let message = message.into();
        self.problems.push(Problem { source, key: key.to_owned(), message, is_of_key: false });
    }

    /// Refuses what `key` leads to as an API key.
    pub(super) fn refuse_key(&mut self, key: &str, message: impl Into<String>) {
        self.refuse(key, message);
        if let Some(problem) = self.problems.last_mut() {
            problem.is_of_key = true;
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let parse = |written: &Written| {
            let value = unit::duration(as_text(&written.value, "a duration in quotes such as \"60s\"")?)?;
            within(value, &range, unit::show_duration)
        };
        self.value(key, parse, |value| unit::show_duration(*value), (default, Source::Default))
    }

    pub(super) fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let parse = |written: &Written| {
            let value = match &written.value {
                Value::Integer(value) => {
                    u64::try_from(*value).map_err(|_| "cannot be negative".to_owned())?
                }
                value => unit::bytes(as_text(value, "a size such as 1048576 or \"10GiB\"")?)?,
            };
            within(value, &range, unit::show_bytes)
        };
        self.value(key, parse, |value| unit::show_bytes(*value), (default, Source::Default))
    }

    pub(super) fn number(&mut self, key: &str, default: u32, range: RangeInclusive<u32>) -> u32 {
        let parse = |written: &Written| {
            let value = written.value.as_integer().ok_or("is not a whole number")?;
            let value = u32::try_from(value).map_err(|_| outside(&range, |value| value.to_string()))?;
            within(value, &range, |value| value.to_string())
        };
        self.value(key, parse, ToString::to_string, (default, Source::Default))
    }

    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        let parse =
            |written: &Written| written.value.as_bool().ok_or_else(|| "is not true or false".to_owned());
        self.value(key, parse, ToString::to_string, (default, Source::Default))
    }

    /// A file mode such as `"0660"`.
    pub(super) fn mode(&mut self, key: &str, default: u32) -> u32 {
        let parse = |written: &Written| {
            unit::mode(as_text(&written.value, "a file mode in quotes such as \"0660\"")?)
        };
        self.value(key, parse, |mode| format!("{mode:04o}"), (default, Source::Default))
    }

    /// A list of user or group ids.
    pub(super) fn ids(&mut self, key: &str) -> Vec<u32> {
        let parse = |written: &Written| {
            let list = written.value.as_array().ok_or("is not a list such as [1000, 1001]")?;
            let id = |value: &Value| value.as_integer().and_then(|id| u32::try_from(id).ok());
            list.iter().map(id).collect::<Option<Vec<_>>>().ok_or("holds what is not a numeric id".to_owned())
        };
        self.value(key, parse, |ids| format!("{ids:?}"), (Vec::new(), Source::Default))
    }

    /// A list of at most `count_max` words, each checked and brought to form by `word`.
    pub(super) fn words(
        &mut self,
        key: &str,
        count_max: usize,
        word: impl Fn(&str) -> Result<String, String>,
    ) -> Vec<String> {
        let parse = |written: &Written| {
            list(&written.value, count_max, |value| word(as_text(value, "a list of words in quotes")?))
        };
        self.value(key, parse, |words| format!("{words:?}"), (Vec::new(), Source::Default))
    }

    /// A list of at most `count_max` paths, each as in [`Reader::path`].
    pub(super) fn paths(
        &mut self,
        key: &str,
        count_max: usize,
        default: (Vec<PathBuf>, Source),
    ) -> Vec<PathBuf> {
        let parse = |written: &Written| {
            list(&written.value, count_max, |value| {
                as_path(&Written { value: value.clone(), source: written.source.clone() })
            })
        };
        self.value(key, parse, |paths| format!("{paths:?}"), default)
    }

    /// One of a few words, in any case.
    pub(super) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        default: T,
        words: &[(&'static str, T)],
    ) -> T {
        let parse = |written: &Written| {
            let word = as_text(&written.value, "a word in quotes")?;
            let found = words.iter().find(|(name, _)| name.eq_ignore_ascii_case(word.trim()));
            found.map(|(_, value)| *value).ok_or_else(|| {
                let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
                format!("{} is none of: {}", unit::quote(word), names.join(", "))
            })
        };
        let show =
            |value: &T| words.iter().find(|(_, of)| of == value).map_or("", |(name, _)| name).to_owned();
        self.value(key, parse, show, (default, Source::Default))
    }

    /// Text without a default.
    pub(super) fn text(&mut self, key: &str, what: &str) -> Option<String> {
        let parse =
            |written: &Written| as_text(&written.value, what).map(|text| Some(text.trim().to_owned()));
        self.value(
            key,
            parse,
            |text| text.as_deref().map_or("none".to_owned(), show_text),
            (None, Source::Default),
        )
        .filter(|text| !text.is_empty())
    }

    /// Text with a default that may have a source of its own.
    pub(super) fn text_or(&mut self, key: &str, what: &str, default: (String, Source)) -> String {
        let parse = |written: &Written| match as_text(&written.value, what)?.trim() {
            "" => Err("is empty".to_owned()),
            text => Ok(text.to_owned()),
        };
        self.value(key, parse, |text| show_text(text), default)
    }

    /// An absolute path. In a file, a relative one starts at that file's folder.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.value(key, |written| as_path(written).map(Some), show_path, (None, Source::Default))
    }

    /// Like [`Reader::path`], with a default; `None` as the default is a problem of its own.
    pub(super) fn path_or(&mut self, key: &str, default: Option<(PathBuf, Source)>) -> PathBuf {
        if default.is_none() && !self.has(key) {
            self.refuse(key, "has no default here, as neither $HOME nor $STATE_DIRECTORY is set: set it");
        }
        let (path, source) = default.unwrap_or_default();
        let parse = |written: &Written| as_path(written).map(Some);
        self.value(key, parse, show_path, (Some(path), source)).unwrap_or_default()
    }

    /// An address to listen on; `""` is none.
    pub(super) fn listen(&mut self, key: &str, default: Option<SocketAddr>) -> Option<SocketAddr> {
        let parse = |written: &Written| match as_text(
            &written.value,
            "an address such as \"127.0.0.1:8792\"",
        )?
        .trim()
        {
            "" => Ok(None),
            text => text.replace("localhost:", "127.0.0.1:").parse().map(Some).map_err(|_| {
                format!("{} is not an address such as \"127.0.0.1:8792\"; \"\" is off", unit::quote(text))
            }),
        };
        let show = |value: &Option<SocketAddr>| value.map_or("off".to_owned(), |address| address.to_string());
        self.value(key, parse, show, (default, Source::Default))
    }

    /// A key that was written down.
    pub(super) fn secret(&mut self, key: &str) -> Option<Secret> {
        let parse =
            |written: &Written| as_text(&written.value, "text").map(|text| Some(Secret::new(text.trim())));
        let show = |value: &Option<Secret>| value.as_ref().map_or("none".to_owned(), Secret::masked);
        self.value(key, parse, show, (None, Source::Default))
    }

    /// The value of `key`: as written if it parses, else its default.
    fn value<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&Written) -> Result<T, String>,
        show: impl FnOnce(&T) -> String,
        (default, default_source): (T, Source),
    ) -> T {
        self.known.insert(key.to_owned());
        let (value, source) = match self.written.get(key) {
            None => (default, default_source),
            Some(written) => match parse(written) {
                Ok(value) => (value, written.source.clone()),
                Err(message) => {
                    self.refuse(key, message);
                    (default, default_source)
                }
            },
        };
        self.entries.push(Entry { key: key.to_owned(), shown: show(&value), source });
        value
    }
}

fn list<T>(
    value: &Value,
    count_max: usize,
    item: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or("is not a list in brackets")?;
    if list.len() > count_max {
        return Err(format!("has {} entries; at most {count_max} are taken", list.len()));
    }
    list.iter().map(item).collect()
}

fn as_text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("is not {what}"))
}

fn as_path(written: &Written) -> Result<PathBuf, String> {
    let text = as_text(&written.value, "a path in quotes")?.trim();
    if text.starts_with("hak_") || text.starts_with("rev_") {
        return Err("is a key where the path of a file is asked for".to_owned());
    }
    let path = Path::new(text);
    match &written.source {
        _ if text.is_empty() => Err("is empty".to_owned()),
        _ if path.is_absolute() => Ok(path.to_owned()),
        _ if text.starts_with('~') => Err(format!("{text:?}: \"~\" is not expanded here: write it out")),
        Source::File { path: file, .. } => Ok(file.with_file_name("").join(path)),
        _ => Err(format!("{text:?} is not an absolute path")),
    }
}

fn show_path(path: &Option<PathBuf>) -> String {
    path.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
}

fn show_text(text: &str) -> String {
    if unit::looks_secret(text) { "***".to_owned() } else { text.to_owned() }
}

fn within<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    show: fn(T) -> String,
) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(outside(range, show)) }
}

fn outside<T: Copy>(range: &RangeInclusive<T>, show: fn(T) -> String) -> String {
    format!("is outside {} to {}", show(*range.start()), show(*range.end()))
}
