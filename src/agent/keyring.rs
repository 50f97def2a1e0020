//! Keys that clients hand over to an agent of their own user, so that nothing has to be configured.
//!
//! A key makes the profile `key-<fingerprint>`: events that name it are sent with this key, to the base URL
//! that came with it, else to that of `default`. A key is taken only from a process of the agent's own user,
//! and only under its own fingerprint, so no one can have events of another key sent with theirs. Kept in a
//! folder that only this user can open, durably, and used at once; a key that comes again with another URL
//! replaces it. Never printed, and a key that is refused is not kept anywhere.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use revenium_event::line::{Code, KeyLine};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::keys::{self, KeyError};
use crate::secret::Secret;
use crate::tenant::fingerprint;
use crate::upstream::{Base, BaseError};
use crate::whole;

/// Longest URL, in bytes: with the longest key it fits what is read of a file with a secret.
const URL_BYTES_MAX: usize = 400;

/// Most keys: as many as there may be profiles of unknown keys.
const KEYS_MAX: usize = 64;

/// A key, and where it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The key.
    pub key: Secret,
    /// The base URL as it was given; `None`: the default profile's.
    pub url: Option<String>,
}

/// Keys by the profile that each makes.
pub type Keys = BTreeMap<Arc<str>, Kept>;

/// All keys that were handed over, and who follows them.
pub struct Keyring {
    dir: PathBuf,
    current: watch::Sender<Keys>,
    /// One key at a time is written down.
    writing: Mutex<()>,
}

/// Why a key is not taken. No message has any part of it.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// Another user's process offers it.
    #[error("an agent takes keys from its own user only")]
    Peer,
    /// The profile of the connection is another key's.
    #[error("it is not the key that the hello's profile is the fingerprint of")]
    Fingerprint,
    /// It is no key of Revenium's.
    #[error(transparent)]
    Key(KeyError),
    /// Its URL is none that a key may be sent to.
    #[error(transparent)]
    Url(BaseError),
    /// Its URL does not fit its file.
    #[error("the URL has more than {URL_BYTES_MAX} bytes, or others than visible ASCII")]
    UrlText,
    /// There are as many as may be.
    #[error("there are {KEYS_MAX} keys already: remove those that are not used any more from {}", .0.display())]
    TooMany(PathBuf),
    /// The disk refused it; the sender may offer it again.
    #[error("cannot keep the key in {}", dir.display())]
    Io {
        /// Where keys are.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl KeyRefused {
    /// What the sender should conclude.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Peer | Self::TooMany(_) => Code::Denied,
            Self::Fingerprint | Self::Key(_) | Self::Url(_) | Self::UrlText => Code::Invalid,
            Self::Io { .. } => Code::Disk,
        }
    }

    /// Which member is at fault.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::Fingerprint | Self::Key(_) => "key.value",
            Self::Url(_) | Self::UrlText => "key.url",
            Self::Peer | Self::TooMany(_) | Self::Io { .. } => "key",
        }
    }
}

impl Keyring {
    /// The keys that are kept in `dir`, which is made. One that cannot be used is left, and told of.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut kept = Keys::new();
        for entry in fs::read_dir(&dir)?.take(2 * KEYS_MAX) {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with(whole::UNFINISHED) {
                let _ = fs::remove_file(&path);
                continue;
            }
            match read(&path, name) {
                Ok(key) if kept.len() < KEYS_MAX => drop(kept.insert(name.into(), key)),
                Ok(_) => warn!(file = %path.display(), "there are too many keys; this one is not used"),
                Err(error) => {
                    let why = crate::chain(&error);
                    warn!(file = %path.display(), why, "a key that was handed over cannot be used");
                }
            }
        }
        Ok(Self { dir, current: watch::Sender::new(kept), writing: Mutex::default() })
    }

    /// The keys as they are now, and a change whenever one comes.
    pub fn follow(&self) -> watch::Receiver<Keys> {
        self.current.subscribe()
    }

    /// Whether a process of `uid` should hand over the key of `profile`, which it has for `url`.
    pub(crate) fn wants(&self, profile: &str, url: Option<&str>, uid: u32) -> bool {
        is_own(uid) && self.current.borrow().get(profile).is_none_or(|kept| kept.url.as_deref() != url)
    }

    /// Takes the key of `profile` from a process of `uid`. Durable when this returns. Blocks.
    pub(crate) fn take(&self, profile: &str, offered: &KeyLine<'_>, uid: u32) -> Result<(), KeyRefused> {
        if !is_own(uid) {
            return Err(KeyRefused::Peer);
        }
        let kept = check(profile, &offered.value, offered.url.as_deref())?;
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_known, count) = {
            let current = self.current.borrow();
            if current.get(profile) == Some(&kept) {
                return Ok(());
            }
            (current.contains_key(profile), current.len())
        };
        if !is_known && count >= KEYS_MAX {
            return Err(KeyRefused::TooMany(self.dir.clone()));
        }
        write(&self.dir.join(profile), &kept)
            .map_err(|source| KeyRefused::Io { dir: self.dir.clone(), source })?;
        let (key, url) = (kept.key.masked(), kept.url.clone());
        info!(profile, key, url, "a key was handed over");
        self.current.send_modify(|current| drop(current.insert(profile.into(), kept)));
        Ok(())
    }
}

fn is_own(uid: u32) -> bool {
    uid == rustix::process::geteuid().as_raw()
}

fn check(profile: &str, key: &str, url: Option<&str>) -> Result<Kept, KeyRefused> {
    let key = keys::check(key).map_err(KeyRefused::Key)?;
    if fingerprint(key.reveal().as_bytes()) != profile {
        return Err(KeyRefused::Fingerprint);
    }
    if let Some(url) = url {
        if url.len() > URL_BYTES_MAX || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(KeyRefused::UrlText);
        }
        Base::parse(url, false).map_err(KeyRefused::Url)?;
    }
    Ok(Kept { key, url: url.map(str::to_owned) })
}

/// A file has the key in its first line and the URL, if there is one, in its second.
fn read(path: &Path, profile: &str) -> Result<Kept, KeyRefused> {
    let text = keys::read_guarded(path).map_err(KeyRefused::Key)?;
    let mut lines = text.lines();
    check(profile, lines.next().unwrap_or_default(), lines.next())
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let lines = [Some(kept.key.reveal()), kept.url.as_deref()].into_iter().flatten();
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    whole::write(path, 0o600, &mut text.as_bytes())
}
