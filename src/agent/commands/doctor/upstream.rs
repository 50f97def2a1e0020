//! Asks each profile's upstream once, on the way that its events take.

use std::time::Duration;

use revenium_event::Kind;
use tokio::time::Instant;

use super::{ASK_TIME_MAX, Finding, Id, answer, clock, key, network, proxy};
use crate::commands::upstream::{self as ways, target};
use crate::config::{Config, ProfileConfig};
use crate::exit::Failure;
use crate::upstream::{ApiKey, Client, Options, Through, Way};

/// Longest wait for the probe's answer, TLS included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// What all upstreams together showed.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) findings: Vec<Finding>,
    pub(super) clocks: Vec<clock::Heard>,
}

/// Asks one after the other.
pub(super) async fn ask(config: &Config) -> Heard {
    let (mut heard, began) = (Heard::default(), Instant::now());
    for profile in &config.profiles {
        if began.elapsed() > ASK_TIME_MAX {
            let cause = format!("not asked: the others took more than {} s", ASK_TIME_MAX.as_secs());
            let next = "mend what is wrong with the others, and run doctor again";
            heard.findings.push(Finding::unknown(Id::Upstream, &profile.name, cause, next));
            continue;
        }
        ask_one(config, profile, &mut heard).await;
    }
    heard
}

async fn ask_one(config: &Config, profile: &ProfileConfig, heard: &mut Heard) {
    let name = &profile.name;
    // What is no URL was refused with the configuration.
    let Ok(target) = target(profile) else { return };
    let base = target.base.clone();
    let setting = config.drain.proxy.as_ref().map(|proxy| proxy.reveal());
    let var = |name: &str| std::env::var(name).ok();
    let way = Way::to(&base, setting, &var);
    heard.findings.extend(proxy::judge(name, base.host(), &way, &var));
    if matches!(way.through, Through::Socks(_)) {
        return;
    }
    let (findings, is_connected) = network::reach(name, &way).await;
    heard.findings.extend(findings);
    if !is_connected {
        heard.findings.extend(proxy::left_out(name, base.host(), &way));
        return;
    }
    let client = options(config).and_then(|options| {
        Client::new(&options, &[target], |code| Kind::from_code(code).map(Kind::route))
            .map_err(|error| Failure::new(crate::exit::Exit::Config, crate::chain(&error)))
    });
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            let next = "mend [drain]: `revenium-agent check` shows what is in effect";
            heard.findings.push(Finding::problem(Id::Tls, name, error.to_string(), next));
            return;
        }
    };
    let key = profile.key.as_ref().and_then(|source| key::value(source).ok());
    let key = key.and_then(|key| ApiKey::new(key.reveal()).ok());
    match client.probe(name, Kind::Completion.code(), key.as_ref()).await {
        Ok(reply) => {
            heard.findings.push(answer::tls(name, &base));
            heard.findings.extend(answer::judge(name, &base, key.is_some(), &reply));
            heard.clocks.extend(reply.date_ms().map(|ms| clock::Heard {
                host: base.authority().to_owned(),
                theirs_s: ms / 1000,
                ours_s: clock::now_s(),
            }));
        }
        Err(error) => heard.findings.push(answer::unanswered(name, &base, &way, &error)),
    }
}

fn options(config: &Config) -> Result<Options, Failure> {
    let options = ways::options(&config.drain, "doctor")?;
    Ok(Options { connect_timeout: network::CONNECT_TIME_MAX, request_timeout: ANSWER_TIME_MAX, ..options })
}
