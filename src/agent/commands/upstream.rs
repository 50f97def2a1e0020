//! The client that reaches the profiles' upstreams, as the configuration has them.

use revenium_event::Kind;

use crate::config::{DrainConfig, ProfileConfig};
use crate::exit::{Exit, Failure, OrExit};
use crate::secret::Secret;
use crate::upstream::{ApiKey, Base, Client, Options, Target};

/// A client for `profiles`, which says that it is `instance`; others may come later, on this machine too.
pub(super) fn client(
    profiles: &[ProfileConfig],
    drain: &DrainConfig,
    instance: &str,
    may_be_loopback: bool,
) -> Result<Client, Failure> {
    let targets = profiles.iter().map(target).collect::<Result<Vec<_>, _>>()?;
    let options = Options { may_be_loopback, ..options(drain, instance)? };
    Client::new(&options, &targets, |code| Kind::from_code(code).map(Kind::route))
        .or_exit(Exit::Config, "the configuration of [drain] cannot be used")
}

/// The key in the form in which it is sent.
pub(super) fn api_key(secret: &Secret) -> Option<ApiKey> {
    // Keys are checked where they are read, so this one has the form of a header.
    ApiKey::new(secret.reveal()).ok()
}

/// As `[drain]` says.
pub(super) fn options(config: &DrainConfig, instance: &str) -> Result<Options, Failure> {
    let mut options = Options::new(instance.to_owned());
    options.proxy = config.proxy.as_ref().map(|proxy| proxy.reveal().to_owned());
    if let Some(path) = &config.ca_file {
        let pem = std::fs::read(path);
        let context = format_args!("cannot read {} (drain.ca_file)", path.display());
        options.ca_pem = Some(pem.or_exit(Exit::Config, context)?);
    }
    Ok(options)
}

/// Where a profile's events go.
pub(super) fn target(profile: &ProfileConfig) -> Result<Target, Failure> {
    let base = Base::parse(&profile.url, profile.allow_plain_http)
        .or_exit(Exit::Config, format_args!("profiles.{}.url", profile.name))?;
    Ok(Target { profile: profile.name.as_str().into(), base })
}
