//! The drain of every configured profile, and of the unknown keys that are claimed for one.
//!
//! A key that a client hands over is a profile of its own. One that comes, or a claim that is made, ends the drain
//! as a stop does, with requests in flight seen to their end, and begins another. Pauses and pace are the log's, so
//! the new one knows them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use revenium_event::Kind;
use revenium_store::Store;
use tokio::sync::watch;
use tracing::info;

use super::Shell;
use super::count::Settling;
use super::view::{Drained, view};
use crate::admin::{DrainView, ProfileStatus};
use crate::commands::upstream::{api_key, client};
use crate::config::{DrainConfig, ProfileConfig};
use crate::desk::ClaimMap;
use crate::drain::{Drain, Pacing, Profile, Settings, Status};
use crate::exit::Failure;
use crate::intake::PROFILE_DEFAULT;
use crate::keyring::{Kept, Keyring, Keys};
use crate::keys;
use crate::receipts::{self, Receipts, folder::Folder};
use crate::tasks::{Stage, Stop, TaskResult, Tasks};
use crate::upstream::{Base, Client, Target};

/// Starts delivery.
pub(super) fn start(
    shell: &Shell,
    store: &Arc<Store>,
    claims: watch::Receiver<ClaimMap>,
    keyring: Option<&Keyring>,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let config = &shell.config;
    let client = client(&config.profiles, &config.drain, &shell.instance, keyring.is_some())?;
    let keys = keyring.map_or_else(|| watch::channel(Keys::new()).1, Keyring::follow);
    let profiles = config.profiles.iter().map(|profile| follow_key(shell, profile, tasks)).collect();
    let delivery = Delivery {
        settings: settings(&config.drain),
        profiles,
        client,
        observer: Arc::new(Settling::new(shell.metrics.clone(), receipts(shell, tasks))),
        store: store.clone(),
        claims: claims.clone(),
        keys: keys.clone(),
        shown: Arc::default(),
    };
    let drain = delivery.drain();
    let (shown, store) = (delivery.shown.clone(), store.clone());
    let takes_keys = keyring.is_some();
    let url = config.profile(PROFILE_DEFAULT).map_or_else(String::new, |profile| profile.url.clone());
    let configured: BTreeSet<Arc<str>> =
        config.profiles.iter().map(|profile| profile.name.as_str().into()).collect();
    shell.board.attach_drain(move || {
        let status = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let accounts = status.as_ref().map(Status::snapshot).unwrap_or_default();
        let with_key = configured.iter().chain(keys.borrow().keys()).cloned().collect();
        let drained = Drained { configured: &with_key, claims: &claims.borrow(), takes_keys };
        let overdue = status.and_then(|status| status.overdue(tokio::time::Instant::now()));
        let handed_over = keys.borrow().iter().map(|(name, kept)| shown_key(name, kept, &url)).collect();
        DrainView { overdue, handed_over, ..view(&accounts, &store.lanes(), &drained) }
    });
    tasks.spawn(Stage::Drain, "drain", |stop| delivery.run(drain, stop));
    Ok(())
}

/// Where deliveries are noted, for `where`. It ends after the drain, with all of them written.
fn receipts(shell: &Shell, tasks: &mut Tasks) -> Receipts {
    let (receipts, handed_in) = Receipts::queue();
    let dir = shell.config.data_dir.join(receipts::DIR);
    let folder = Folder::new(dir, shell.config.store.free_reserve_bytes);
    let metrics = shell.metrics.clone();
    let miss = move |receipts| metrics.receipts_missed(receipts);
    tasks.spawn(Stage::Store, "receipts", |stop| receipts::keep(folder, handed_in, miss, stop));
    receipts
}

type Running = Drain<Store, Client, Settling>;

/// What every drain is made of.
struct Delivery {
    settings: Settings,
    /// The configured ones.
    profiles: Vec<Profile>,
    client: Client,
    observer: Arc<Settling>,
    store: Arc<Store>,
    claims: watch::Receiver<ClaimMap>,
    keys: watch::Receiver<Keys>,
    /// The drain that runs.
    shown: Arc<Mutex<Option<Status>>>,
}

impl Delivery {
    /// A drain for the configured profiles, and the claims and keys as they are now.
    fn drain(&self) -> Running {
        let handed_over = self.handed_over();
        let known = || self.profiles.iter().chain(handed_over.iter().map(|(profile, _)| profile));
        let claims = self.claims.borrow().clone();
        let of_claims = claims.iter().filter_map(|(name, claimed_as)| {
            let is_known = known().any(|profile| profile.name == *name);
            let of = self.profiles.iter().find(|profile| profile.name == *claimed_as && !is_known)?;
            Some((Profile { name: name.clone(), ..of.clone() }, claimed_as.clone()))
        });
        let (claimed, names): (Vec<Profile>, Vec<_>) =
            of_claims.map(|(profile, of)| (profile.clone(), (profile.name, of))).unzip();
        let profiles = known().cloned().chain(claimed).collect();
        let targets: Vec<Target> = handed_over.iter().map(|(_, target)| target.clone()).collect();
        let client = Arc::new(self.client.with(names).to(&targets));
        let drain =
            Drain::new(self.settings.clone(), profiles, self.store.clone(), client, self.observer.clone());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(drain.status());
        drain
    }

    /// The keys that were handed over, each as a profile. One that is configured by now is not among them.
    fn handed_over(&self) -> Vec<(Profile, Target)> {
        let profile = |(name, kept): (&Arc<str>, &Kept)| {
            let default = self.profiles.iter().find(|profile| *profile.name == *PROFILE_DEFAULT)?;
            let url = kept.url.clone().unwrap_or_else(|| default.upstream.clone());
            // Both were checked when they came.
            let base = Base::parse(&url, false).ok()?;
            let key = watch::channel(api_key(&kept.key)).1;
            let account = if kept.url.is_some() { base.authority().into() } else { default.account.clone() };
            let profile = Profile { name: name.clone(), account, upstream: url, key };
            Some((profile, Target { profile: name.clone(), base }))
        };
        let keys = self.keys.borrow().clone();
        let is_left = |(name, _): &(&Arc<str>, &Kept)| !self.profiles.iter().any(|one| one.name == **name);
        keys.iter().filter(is_left).filter_map(profile).collect()
    }

    /// Drains until told to stop, anew with each claim and key.
    async fn run(mut self, mut drain: Running, mut stop: Stop) -> TaskResult {
        loop {
            let (mut claims, mut keys) = (self.claims.clone(), self.keys.clone());
            let ended = async {
                tokio::select! {
                    () = stop.requested() => {}
                    () = changed(&mut claims) => {}
                    () = changed(&mut keys) => {}
                }
            };
            let summary = drain.run(ended).await?;
            let crate::drain::Summary { delivered, dead, postponed, abandoned } = summary;
            if stop.is_requested() {
                info!(delivered, dead, postponed, abandoned, "the drain has stopped");
                return Ok(());
            }
            info!(
                delivered,
                dead, postponed, abandoned, "the drain begins anew, with what was claimed or came"
            );
            self.claims.mark_unchanged();
            self.keys.mark_unchanged();
            drain = self.drain();
        }
    }
}

/// Returns when one is made; never once nobody can make one.
async fn changed<T>(made: &mut watch::Receiver<T>) {
    if made.changed().await.is_err() {
        std::future::pending().await
    }
}

/// A key that was handed over, as a profile that is shown.
fn shown_key(name: &Arc<str>, kept: &Kept, default: &str) -> ProfileStatus {
    ProfileStatus {
        name: name.to_string(),
        url: Some(kept.url.clone().unwrap_or_else(|| default.to_owned())),
        key: Some(kept.key.masked()),
        key_source: Some("handed over by an application".to_owned()),
        ..ProfileStatus::default()
    }
}

fn settings(config: &DrainConfig) -> Settings {
    Settings {
        pacing: match config.requests_per_second_max {
            0 => Pacing::Adaptive,
            per_second => Pacing::Fixed(per_second.into()),
        },
        in_flight_max: usize::try_from(config.in_flight_max).unwrap_or(usize::MAX),
        backoff_max: config.backoff_max,
        stop_deadline: config.stop_deadline,
        main_route: Kind::Completion.code(),
    }
}

/// The profile with its key, which changes as its file does.
fn follow_key(shell: &Shell, profile: &ProfileConfig, tasks: &mut Tasks) -> Profile {
    let from = shell.keys.get(&profile.name).cloned().unwrap_or_else(|| watch::channel(None).1);
    let (to, key) = watch::channel(from.borrow().as_ref().and_then(api_key));
    tasks.spawn(Stage::Admin, "key", |stop| keys::translate(from, to, api_key, stop));
    Profile {
        name: profile.name.as_str().into(),
        account: profile.account.as_str().into(),
        upstream: profile.url.clone(),
        key,
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
