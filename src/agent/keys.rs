//! API keys: where a profile's key comes from, and following it when its file is replaced.
//!
//! A key file is read again every few seconds, whichever way it is replaced: written in place,
//! renamed over (editors, Vault), or through a swapped symlink (Kubernetes, systemd credentials).
//! A file that cannot be used keeps the key that was last read, with one warning, so that a
//! rotation half done never stops metering. Key files must not be readable by other users.

use std::fs::{Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::secret::Secret;
use crate::tasks::{Stop, TaskResult};

/// How often a key file is read again. Seconds, so that a rotation's overlap is never missed.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// Longest key, in bytes; far above any that Revenium gives out.
pub const KEY_BYTES_MAX: usize = 512;

/// Where a profile's key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// It was written down: in a configuration file or in the environment.
    Inline(Secret),
    /// A file that holds the key and nothing else; its mode is checked.
    File(PathBuf),
    /// A file that systemd's `LoadCredential=` put into place and guards.
    Credential(PathBuf),
}

impl KeySource {
    /// Reads the key as it is now.
    pub fn read(&self) -> Result<Secret, KeyError> {
        match self {
            Self::Inline(key) => check(key.reveal()),
            Self::File(path) => check(&read(path, true)?).map_err(|error| error.within(path)),
            Self::Credential(path) => check(&read(path, false)?).map_err(|error| error.within(path)),
        }
    }
}

/// A key cannot be used. None of the messages holds any part of the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the key file {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Other users can read the file.
    #[error("{} is open to other users (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is nothing in it.
    #[error("the key is empty")]
    Empty,
    /// It doesn't begin like one of Revenium's keys.
    #[error("the key does not begin with \"hak_\" or \"rev_\", as Revenium's keys do")]
    Shape,
    /// It holds characters that no header may hold.
    #[error("the key holds characters that are not visible ASCII, such as a space or a line end")]
    Characters,
    /// It is longer than [`KEY_BYTES_MAX`].
    #[error("the key is longer than {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// One of the above, in a file.
    #[error("cannot use the key file {}", path.display())]
    InFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the key in it.
        source: Box<KeyError>,
    },
}

impl KeyError {
    fn within(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}

/// Checks the shape of a key, as Revenium's SDKs do. Space around it is cut.
pub fn check(text: &str) -> Result<Secret, KeyError> {
    let key = text.trim();
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong);
    }
    if !key.starts_with("hak_") && !key.starts_with("rev_") {
        return Err(KeyError::Shape);
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KeyError::Characters);
    }
    Ok(Secret::new(key))
}

/// Refuses a file that others can read: group bits are only for files of root, which no
/// service user can chmod and which Kubernetes gives to a pod through its group.
pub fn check_mode(path: &Path, meta: &Metadata) -> Result<(), KeyError> {
    check_mode_for(path, meta, rustix::process::geteuid().as_raw())
}

/// The same for an agent that runs as the user `uid`.
pub fn check_mode_for(path: &Path, meta: &Metadata, uid: u32) -> Result<(), KeyError> {
    let mode = meta.mode() & 0o7777;
    let exposed = if meta.uid() == 0 && uid != 0 { 0o027 } else { 0o077 };
    if mode & exposed == 0 { Ok(()) } else { Err(KeyError::Exposed { path: path.to_owned(), mode }) }
}

/// Reads a small file that holds a secret and that other users must not be able to read.
pub fn read_guarded(path: &Path) -> Result<String, KeyError> {
    read(path, true)
}

fn read(path: &Path, guarded: bool) -> Result<String, KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    // Opening a pipe would wait for somebody to write to it.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    // Of the file that was opened, not of whatever the path names by now.
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(failed(io::Error::other("is not a regular file")));
    }
    if guarded {
        check_mode(path, &meta)?;
    }
    let mut text = String::new();
    // Room for space around the key; more than that is cut and then refused as too long.
    file.take(2 * KEY_BYTES_MAX as u64).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Follows one profile's key.
pub struct KeyWatch {
    profile: String,
    source: KeySource,
    current: watch::Sender<Option<Secret>>,
    /// The last look failed, and a person was told.
    warned: bool,
}

impl KeyWatch {
    /// Looks every few seconds, and at once when `hangups` changes (SIGHUP), until told to stop.
    pub async fn follow(mut self, mut hangups: watch::Receiver<u64>, mut stop: Stop) -> TaskResult {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.requested() => return Ok(()),
                _ = ticks.tick() => self.look(),
                Ok(()) = hangups.changed() => self.look(),
            }
        }
    }

    /// Reads the file once and publishes its key if it is another one.
    fn look(&mut self) {
        match self.source.read() {
            Ok(key) => {
                self.warned = false;
                let masked = key.masked();
                let changed = self.current.send_if_modified(|current| {
                    let changed = current.as_ref() != Some(&key);
                    *current = Some(key);
                    changed
                });
                if changed {
                    info!(profile = self.profile, key = masked, "key replaced");
                }
            }
            Err(error) if !self.warned => {
                self.warned = true;
                let error = crate::chain(&error);
                warn!(profile = self.profile, error, "key file cannot be used, keeping the last key");
            }
            Err(_) => {}
        }
    }
}

/// A profile's key, and what follows it if it can change.
pub struct KeyHandle {
    /// The key as it is now. The sender is gone if it cannot change.
    pub current: watch::Receiver<Option<Secret>>,
    /// To be spawned; `None` for a key that cannot change.
    pub watch: Option<KeyWatch>,
}

impl KeyHandle {
    /// Reads the key for the first time. `None` as the source is a profile without a key.
    pub fn open(profile: &str, source: Option<&KeySource>) -> Result<Self, KeyError> {
        let Some(source) = source else {
            return Ok(Self { current: watch::channel(None).1, watch: None });
        };
        let (sender, current) = watch::channel(Some(source.read()?));
        let can_change = !matches!(source, KeySource::Inline(_));
        let watch = can_change.then(|| KeyWatch {
            profile: profile.to_owned(),
            source: source.clone(),
            current: sender,
            warned: false,
        });
        Ok(Self { current, watch })
    }
}

/// Keeps `to` at what `map` makes of `from`, until told to stop: for a part that holds keys in a
/// form of its own.
pub async fn translate<T>(
    mut from: watch::Receiver<Option<Secret>>,
    to: watch::Sender<Option<T>>,
    map: impl Fn(&Secret) -> Option<T>,
    mut stop: Stop,
) -> TaskResult {
    loop {
        to.send_replace(from.borrow_and_update().as_ref().and_then(&map));
        tokio::select! {
            () = stop.requested() => return Ok(()),
            changed = from.changed() => if changed.is_err() {
                // A key that cannot change has no sender.
                stop.requested().await;
                return Ok(());
            },
        }
    }
}

#[cfg(test)]
mod tests;
