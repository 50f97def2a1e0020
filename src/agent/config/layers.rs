//! What was written, where, and which of several writings counts.
//!
//! Flags over a sandbox's own settings over the environment over `conf.d` (later names win) over
//! `config.toml`. Values are kept flat, by their full key (`drain.backoff_max`); a list replaces
//! an earlier list. What a value means is for [`super::reader`] to say.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use revenium_emitter::place;
use toml::de::{DeTable, DeValue};

use super::surroundings::MACHINE_FILE;
use super::{Flags, Problem, Source, Surroundings};
use crate::keys;

/// Largest configuration file, in bytes; a larger one is some other file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Most files that are read from `conf.d`.
const CONF_D_FILES_MAX: usize = 256;

/// The three ways to give a profile its key; a profile has one of them.
pub(super) const KEY_SOURCES: [&str; 3] = ["api_key", "api_key_file", "credential"];

/// One written value.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) value: toml::Value,
    pub(super) source: Source,
}

/// All that was written.
#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) values: BTreeMap<String, Written>,
    /// Names under `profiles`, valid or not; `default` is always one.
    pub(super) profiles: BTreeSet<String>,
    pub(super) files: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl RawConfig {
    /// Reads every layer. Problems are collected, not returned, so that all are reported at once.
    pub(super) fn gather(flags: &Flags, around: &Surroundings) -> Self {
        let mut raw = Self::default();
        raw.profiles.insert("default".to_owned());
        raw.add_files(flags, around);
        raw.add_environment(around);
        raw.add_per_user(flags, around);
        raw.add_sandbox(flags);
        for (key, name, path) in
            [("data_dir", "--data-dir", &flags.data_dir), ("socket.path", "--socket", &flags.socket)]
        {
            if let Some(path) = path {
                raw.add_path(key, path, Source::Flag(name));
            }
        }
        for (key, name, text) in [
            ("admin.listen", "--admin", &flags.admin),
            ("relay.listen", "--relay", &flags.relay),
            ("gateway.listen", "--gateway", &flags.gateway),
            ("gateway.admin_listen", "--admin", &flags.gateway_admin),
            ("gateway.provider_url", "--provider-url", &flags.provider_url),
        ] {
            if let Some(text) = text {
                raw.put(key, text, Source::Flag(name));
            }
        }
        raw
    }

    fn add_files(&mut self, flags: &Flags, around: &Surroundings) {
        let by_default = || default_file(around).filter(|_| !flags.per_user);
        let Some(config) = flags.config.clone().or_else(by_default) else { return };
        if config.is_file() || flags.config.is_some() {
            self.add_file(&config);
        }
        self.add_conf_d(&config);
    }

    /// Reads `config` if it is there, and what lies in `conf.d` beside it.
    pub(super) fn add_what_is_at(&mut self, config: &Path) {
        if config.is_file() {
            self.add_file(config);
        }
        self.add_conf_d(config);
    }

    fn add_conf_d(&mut self, config: &Path) {
        let conf_d = config.with_file_name("conf.d");
        if !conf_d.is_dir() {
            return;
        }
        match toml_files(&conf_d) {
            Ok(files) if files.len() <= CONF_D_FILES_MAX => files.iter().for_each(|file| self.add_file(file)),
            Ok(_) => self.refuse_file(&conf_d, 0, format!("holds more than {CONF_D_FILES_MAX} files")),
            Err(error) => self.refuse_file(&conf_d, 0, format!("cannot list: {error}")),
        }
    }

    fn add_file(&mut self, path: &Path) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.files.push(path.clone());
        let text = match read(&path) {
            Ok(text) => text,
            Err(message) => return self.refuse_file(&path, 0, message),
        };
        // Only `message()` is shown: the error's own rendering quotes the line, which may hold a key.
        let refuse = |raw: &mut Self, error: &toml::de::Error| {
            let line = error.span().map_or(0, |span| line_of(&text, &span));
            raw.refuse_file(&path, line, format!("is not TOML: {}", error.message().replace('\n', " ")));
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => return refuse(self, &error),
        };
        let mut lines = BTreeMap::new();
        match DeTable::parse(&text) {
            Ok(spanned) => note_lines(&text, "", spanned.get_ref(), &mut lines),
            Err(error) => return refuse(self, &error),
        }
        if let Some(toml::Value::Table(profiles)) = table.get("profiles") {
            self.profiles.extend(profiles.keys().cloned());
        }
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        if flat.iter().any(|(key, _)| key.starts_with("profiles.") && key.ends_with(".api_key")) {
            self.warn_if_readable(&path);
        }
        for (key, value) in flat {
            let line = lines.get(&key).copied().unwrap_or(0);
            self.values.insert(key, Written { value, source: Source::File { path: path.clone(), line } });
        }
    }

    fn add_environment(&mut self, around: &Surroundings) {
        for (key, name) in [
            ("profiles.default.api_key", "REVENIUM_METERING_API_KEY"),
            ("profiles.default.url", "REVENIUM_METERING_BASE_URL"),
            ("logging.level", "REVENIUM_LOG_LEVEL"),
        ] {
            match around.text(name) {
                Ok(Some(value)) => {
                    if key.ends_with(".api_key") {
                        self.drop_keys_of("default", &format!("${name} is set"));
                    }
                    self.put(key, value, Source::Variable(name));
                }
                Ok(None) => {}
                Err(()) => self.refuse(Source::Variable(name), key, "is not UTF-8".to_owned()),
            }
        }
    }

    fn add_per_user(&mut self, flags: &Flags, around: &Surroundings) {
        if !flags.per_user {
            return;
        }
        let source = || Source::Flag("--per-user");
        // Nobody else may connect, and several users' agents must not meet at an address.
        for (key, text) in
            [("socket.mode", "0600"), ("admin.listen", ""), ("relay.listen", ""), ("gateway.listen", "")]
        {
            self.put(key, text, source());
        }
        // Where this user's applications look for them.
        let var = |name: &str| around.raw(name);
        let places = place::Surroundings { var: &var, uid: around.uid };
        let socket = flags.socket.clone().or_else(|| places.sockets().into_iter().next()).unwrap_or_default();
        let spool = places.spool(&socket);
        self.add_path("socket.path", &socket, source());
        match spool.to_str() {
            Some(spool) => {
                let value = toml::Value::Array(vec![spool.into()]);
                self.values.insert("spool.dirs".to_owned(), Written { value, source: source() });
            }
            None => self.refuse(source(), "spool.dirs", "is not a path in UTF-8".to_owned()),
        }
    }

    fn add_sandbox(&mut self, flags: &Flags) {
        let Some(sandbox) = &flags.sandbox else { return };
        if let Some(written) = self.values.get("data_dir") {
            let source = written.source.clone();
            self.refuse(source, "data_dir", SANDBOX_DATA_DIR.to_owned());
        }
        if flags.data_dir.is_some() {
            self.refuse(Source::Flag("--data-dir"), "data_dir", SANDBOX_DATA_DIR.to_owned());
        }
        let source = Source::Flag("--sandbox");
        self.add_path("data_dir", &sandbox.data_dir, source.clone());
        // The stand-in must never take the events or the address of a real agent.
        self.add_path("socket.path", &sandbox.data_dir.join("agent.sock"), source.clone());
        self.put("admin.listen", "127.0.0.1:0", source.clone());
        self.put("relay.listen", "", source.clone());
        self.put("gateway.listen", "", source.clone());
        let no_dirs = Written { value: toml::Value::Array(Vec::new()), source: source.clone() };
        self.values.insert("spool.dirs".to_owned(), no_dirs);
        for name in self.profiles.clone() {
            for key_source in KEY_SOURCES {
                self.values.remove(&format!("profiles.{}.{key_source}", segment(&name)));
            }
            let key = |last: &str| format!("profiles.{}.{last}", segment(&name));
            self.put(&key("url"), sandbox.url.as_str(), source.clone());
            self.put(&key("api_key"), sandbox.key.reveal(), source.clone());
        }
    }

    /// The environment's key replaces any that files gave, of whichever source.
    fn drop_keys_of(&mut self, profile: &str, why: &str) {
        for key_source in KEY_SOURCES {
            let key = format!("profiles.{profile}.{key_source}");
            if let Some(written) = self.values.remove(&key) {
                self.warnings.push(format!("{}: {key} is not used: {why}", written.source));
            }
        }
    }

    fn warn_if_readable(&mut self, path: &Path) {
        let Ok(meta) = std::fs::metadata(path) else { return };
        if let Err(error) = keys::check_mode(path, &meta) {
            self.warnings.push(format!("holds an api_key: {error}"));
        }
    }

    fn add_path(&mut self, key: &str, path: &Path, source: Source) {
        match std::path::absolute(path).ok().as_deref().and_then(Path::to_str) {
            Some(text) => self.put(key, text, source),
            None => self.refuse(source, key, "is not a path in UTF-8".to_owned()),
        }
    }

    fn put(&mut self, key: &str, value: &str, source: Source) {
        self.values.insert(key.to_owned(), Written { value: toml::Value::String(value.to_owned()), source });
    }

    fn refuse(&mut self, source: Source, key: &str, message: String) {
        self.problems.push(Problem { source, key: key.to_owned(), message, is_of_key: false });
    }

    fn refuse_file(&mut self, path: &Path, line: usize, message: String) {
        self.refuse(Source::File { path: path.to_owned(), line }, "", message);
    }
}

const SANDBOX_DATA_DIR: &str =
    "--sandbox keeps its data in a folder of its own and refuses a configured one: leave data_dir out";

/// The first of the system's and the user's configuration that exists.
fn default_file(around: &Surroundings) -> Option<PathBuf> {
    let files = [Some(PathBuf::from(MACHINE_FILE)), around.own_config()];
    files.into_iter().flatten().find(|file| file.is_file() || file.with_file_name("conf.d").is_dir())
}

fn read(path: &Path) -> Result<String, String> {
    let meta = std::fs::metadata(path).map_err(|error| format!("cannot read: {error}"))?;
    if meta.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {FILE_BYTES_MAX} bytes"));
    }
    std::fs::read_to_string(path).map_err(|error| format!("cannot read: {error}"))
}

fn toml_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Leaves of `table` by their full key. An empty table is a leaf, so that a stray one is noticed.
fn flatten(prefix: &str, table: toml::Table, flat: &mut Vec<(String, toml::Value)>) {
    for (name, value) in table {
        let key = join(prefix, &name);
        match value {
            toml::Value::Table(table) if !table.is_empty() => flatten(&key, table, flat),
            value => flat.push((key, value)),
        }
    }
}

fn note_lines(text: &str, prefix: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (name, value) in table {
        let key = join(prefix, name.get_ref());
        lines.insert(key.clone(), line_of(text, &name.span()));
        if let DeValue::Table(table) = value.get_ref() {
            note_lines(text, &key, table, lines);
        }
    }
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { segment(name) } else { format!("{prefix}.{}", segment(name)) }
}

/// `name` as it is written within a dotted key: in quotes unless it is bare.
pub(super) fn segment(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") }
}
