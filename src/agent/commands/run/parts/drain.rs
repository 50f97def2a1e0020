//! The drain of every configured profile, and of the unknown keys that are claimed for one.
//!
//! A claim that is made meanwhile ends the drain as a stop does, with requests in flight seen to
//! their end, and begins another. Pauses and pace are the log's, so the new one knows them.

use std::sync::{Arc, Mutex, PoisonError};

use revenium_event::Kind;
use revenium_store::Store;
use tokio::sync::watch;
use tracing::info;

use super::Shell;
use super::count::Settling;
use super::view::{Drained, view};
use crate::admin::DrainView;
use crate::commands::upstream::{api_key, client};
use crate::config::{DrainConfig, ProfileConfig};
use crate::desk::ClaimMap;
use crate::drain::{Drain, Pacing, Profile, Settings, Status};
use crate::exit::Failure;
use crate::keys;
use crate::tasks::{Stage, Stop, TaskResult, Tasks};
use crate::upstream::Client;

/// Starts delivery.
pub(super) fn start(
    shell: &Shell,
    store: &Arc<Store>,
    claims: watch::Receiver<ClaimMap>,
    tasks: &mut Tasks,
) -> Result<(), Failure> {
    let config = &shell.config;
    let client = client(&config.profiles, &config.drain, &shell.instance)?;
    let profiles = config.profiles.iter().map(|profile| follow_key(shell, profile, tasks)).collect();
    let delivery = Delivery {
        settings: settings(&config.drain),
        profiles,
        client,
        observer: Arc::new(Settling::new(shell.metrics.clone())),
        store: store.clone(),
        claims: claims.clone(),
        shown: Arc::default(),
    };
    let drain = delivery.drain(&claims.borrow());
    let (shown, store) = (delivery.shown.clone(), store.clone());
    let configured = config.profiles.iter().map(|profile| profile.name.as_str().into()).collect();
    shell.board.attach_drain(move || {
        let status = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let accounts = status.as_ref().map(Status::snapshot).unwrap_or_default();
        let drained = Drained { configured: &configured, claims: &claims.borrow() };
        let overdue = status.and_then(|status| status.overdue(tokio::time::Instant::now()));
        DrainView { overdue, ..view(&accounts, &store.lanes(), &drained) }
    });
    tasks.spawn(Stage::Drain, "drain", |stop| delivery.run(drain, stop));
    Ok(())
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
    /// The drain that runs.
    shown: Arc<Mutex<Option<Status>>>,
}

impl Delivery {
    /// A drain for the configured profiles and these claims.
    fn drain(&self, claims: &ClaimMap) -> Running {
        let of_claims = claims.iter().filter_map(|(name, claimed_as)| {
            let is_configured = self.profiles.iter().any(|profile| profile.name == *name);
            let of = self.profiles.iter().find(|profile| profile.name == *claimed_as && !is_configured)?;
            Some((Profile { name: name.clone(), ..of.clone() }, claimed_as.clone()))
        });
        let (claimed, names): (Vec<Profile>, Vec<_>) =
            of_claims.map(|(profile, of)| (profile.clone(), (profile.name, of))).unzip();
        let profiles = self.profiles.iter().cloned().chain(claimed).collect();
        let client = Arc::new(self.client.with(names));
        let drain =
            Drain::new(self.settings.clone(), profiles, self.store.clone(), client, self.observer.clone());
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(drain.status());
        drain
    }

    /// Drains until told to stop, anew with each claim.
    async fn run(mut self, mut drain: Running, mut stop: Stop) -> TaskResult {
        loop {
            let mut claims = self.claims.clone();
            let ended = async {
                tokio::select! {
                    () = stop.requested() => {}
                    () = changed(&mut claims) => {}
                }
            };
            let summary = drain.run(ended).await?;
            let crate::drain::Summary { delivered, dead, postponed, abandoned } = summary;
            if stop.is_requested() {
                info!(delivered, dead, postponed, abandoned, "the drain has stopped");
                return Ok(());
            }
            info!(delivered, dead, postponed, abandoned, "the drain begins anew, with what was claimed");
            let claims = self.claims.borrow_and_update().clone();
            drain = self.drain(&claims);
        }
    }
}

/// Returns when a claim is made; never once nobody can make one.
async fn changed(claims: &mut watch::Receiver<ClaimMap>) {
    if claims.changed().await.is_err() {
        std::future::pending().await
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
