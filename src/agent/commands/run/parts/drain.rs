//! The drain of every configured profile.

use std::sync::Arc;

use revenium_event::Kind;
use revenium_store::Store;
use tokio::sync::watch;

use super::Shell;
use super::count::Counted;
use super::view::view;
use crate::config::{DrainConfig, ProfileConfig};
use crate::drain::{Drain, Pacing, Profile, Settings};
use crate::exit::{Exit, Failure, OrExit};
use crate::keys;
use crate::metrics::Via;
use crate::secret::Secret;
use crate::tasks::{Stage, Tasks};
use crate::upstream::{ApiKey, Base, Client, Options, Target};

/// Starts delivery.
pub(super) fn start(shell: &Shell, store: &Arc<Store>, tasks: &mut Tasks) -> Result<(), Failure> {
    let config = &shell.config;
    let targets = config.profiles.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    let options = options(&config.drain, &shell.instance)?;
    let client = Client::new(&options, &targets, |code| Kind::from_code(code).map(Kind::route))
        .or_exit(Exit::Config, "the configuration of [drain] cannot be used")?;
    let profiles = config.profiles.iter().map(|profile| follow_key(shell, profile, tasks)).collect();
    let observer = Arc::new(Counted::new(shell.metrics.clone(), Via::Socket));
    let drain = Drain::new(settings(&config.drain), profiles, store.clone(), Arc::new(client), observer);
    let (status, configured) = (drain.status(), config.profiles.iter().map(|p| p.name.clone()).collect());
    let store = store.clone();
    shell.board.attach_drain(move || view(&status.snapshot(), &store.lanes(), &configured));
    tasks.spawn(Stage::Drain, "drain", |mut stop| async move {
        let summary = drain.run(async move { stop.requested().await }).await?;
        let crate::drain::Summary { delivered, dead, postponed, abandoned } = summary;
        tracing::info!(delivered, dead, postponed, abandoned, "the drain has stopped");
        Ok(())
    });
    Ok(())
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

fn options(config: &DrainConfig, instance: &str) -> Result<Options, Failure> {
    let mut options = Options::new(instance.to_owned());
    options.proxy = config.proxy.as_ref().map(|proxy| proxy.reveal().to_owned());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path);
        let context = format_args!("cannot read {} (drain.ca_file)", path.display());
        options.ca_pem = Some(pem.or_exit(Exit::Config, context)?);
    }
    Ok(options)
}

fn target(profile: &ProfileConfig) -> Result<Target, Failure> {
    let base = Base::parse(&profile.url, profile.allow_plain_http)
        .or_exit(Exit::Config, format_args!("profiles.{}.url", profile.name))?;
    Ok(Target { profile: profile.name.as_str().into(), base })
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

fn api_key(secret: &Secret) -> Option<ApiKey> {
    // Keys are checked where they are read, so this one has the form of a header.
    ApiKey::new(secret.reveal()).ok()
}
