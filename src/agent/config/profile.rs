//! `[profiles.NAME]`: an upstream, its key, and the account whose pace it shares.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::layers::{KEY_SOURCES, segment};
use super::reader::Reader;
use super::url::{Target, loops_into};
use super::{Source, Surroundings};
use crate::keys::{self, KeyError, KeySource};

/// Where events go unless a profile says else.
const URL_DEFAULT: &str = "https://api.revenium.ai";

/// Longest name of an account: it becomes a metric's label.
const ACCOUNT_BYTES_MAX: usize = 128;

/// A named upstream with its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileConfig {
    /// Its name: 1–64 letters, digits, `-` and `_`.
    pub name: String,
    /// The base URL as written: http or https, without a password. `upstream` derives the routes.
    pub url: String,
    /// Where the key comes from; with a configuration that can be used it could be read once. `None`: events
    /// are kept, not sent.
    pub key: Option<KeySource>,
    /// Profiles of one account share one pace. The URL's host unless given.
    pub account: String,
    /// Whether the key may go unencrypted to a host other than this one. False.
    pub allow_plain_http: bool,
}

impl ProfileConfig {
    pub(super) fn read(
        reader: &mut Reader,
        name: &str,
        around: &Surroundings,
        listeners: &[(&'static str, SocketAddr)],
    ) -> Self {
        let key = |last: &str| format!("profiles.{}.{last}", segment(name));
        if !is_name(name) {
            reader.refuse(
                &key("url"),
                "a profile's name has 1 to 64 letters, digits, \"-\" and \"_\", and does not begin with \"_\"",
            );
        }
        let url = reader.text_or(&key("url"), "a URL in quotes", (URL_DEFAULT.to_owned(), Source::Default));
        let allow_plain_http = reader.flag(&key("allow_plain_http"), false);
        let target = Target::parse(&url);
        match &target {
            Err(message) => reader.refuse(&key("url"), message.as_str()),
            Ok(target) if target.plain && !target.is_loopback() && !allow_plain_http => reader.refuse(
                &key("url"),
                "would send the API key unencrypted: use https, or set allow_plain_http = true in this profile",
            ),
            Ok(_) => {}
        }
        if let Some((listener, address)) = loops_into(&url, listeners) {
            reader.refuse(&key("url"), format!("{url} is this agent's own {listener} ({address})"));
        }
        let default = target.map_or_else(|_| "none".to_owned(), |target| target.account());
        let account = reader.text_or(&key("account"), "text", (default, Source::Default));
        if account.len() > ACCOUNT_BYTES_MAX || account.chars().any(char::is_control) {
            reader.refuse(&key("account"), format!("has at most {ACCOUNT_BYTES_MAX} visible characters"));
        }
        Self { name: name.to_owned(), url, key: read_key(reader, name, around), account, allow_plain_http }
    }
}

/// What a name may be: whatever events may name, but for the names that intake keeps for itself,
/// which begin with `_`.
fn is_name(name: &str) -> bool {
    revenium_event::profile_is_valid(name) && !name.starts_with('_')
}

fn read_key(reader: &mut Reader, name: &str, around: &Surroundings) -> Option<KeySource> {
    let key = |last: &str| format!("profiles.{}.{last}", segment(name));
    let inline = reader.secret(&key("api_key"));
    let file = reader.path(&key("api_key_file"));
    let credential = reader.text(&key("credential"), "the name of a systemd credential in quotes");
    let given: Vec<&str> = KEY_SOURCES.into_iter().filter(|source| reader.has(&key(source))).collect();
    if let [.., _, last] = given[..] {
        let places: Vec<_> =
            given.iter().map(|source| format!("{source} ({})", reader.source(&key(source)))).collect();
        reader.refuse(
            &key(last),
            format!("the key has more than one source: {}; leave one", places.join(", ")),
        );
        return None;
    }
    let (last, source) = match (inline, file, credential) {
        (Some(secret), ..) => ("api_key", KeySource::Inline(secret)),
        (_, Some(path), _) => ("api_key_file", KeySource::File(path)),
        (.., Some(credential)) => {
            ("credential", KeySource::Credential(credential_path(reader, name, around, &credential)?))
        }
        _ => return None,
    };
    match source.read() {
        // As it is used: without the space that may have been around it.
        Ok(secret) if last == "api_key" => Some(KeySource::Inline(secret)),
        Ok(secret) => {
            reader.annotate(&key(last), &format!(" holding {}", secret.masked()));
            Some(source)
        }
        Err(error) => {
            let mut message = crate::chain(&error);
            if last == "credential" {
                message.push_str(
                    "; is the file there, with the key in it, that the unit's LoadCredential= names?",
                );
            }
            reader.refuse_key(&key(last), message);
            Some(source)
        }
    }
}

fn credential_path(
    reader: &mut Reader,
    name: &str,
    around: &Surroundings,
    credential: &str,
) -> Option<PathBuf> {
    let key = format!("profiles.{}.credential", segment(name));
    if credential.contains('/') || credential.starts_with('.') || keys::check(credential).is_ok() {
        reader.refuse(&key, "is not the name of a systemd credential");
        return None;
    }
    let Some(dir) = around.dir("CREDENTIALS_DIRECTORY") else {
        reader.refuse(
            &key,
            format!("$CREDENTIALS_DIRECTORY is not set: the unit needs LoadCredential={credential}:…"),
        );
        return None;
    };
    if let Some(error) = exposed(&reader.source(&key), credential) {
        reader.refuse_key(&key, crate::chain(&error));
    }
    Some(dir.join(credential))
}

/// Whether others can read what the credential was copied from. systemd does not tell where that is; by
/// our own unit it has the credential's name and lies beside the configuration file.
fn exposed(source: &Source, credential: &str) -> Option<KeyError> {
    let Source::File { path, .. } = source else { return None };
    let dir = path.parent()?;
    let dir = if dir.file_name().is_some_and(|name| name == "conf.d") { dir.parent()? } else { dir };
    let path = dir.join(credential);
    keys::check_mode(&path, &path.metadata().ok()?).err()
}
