//! `profile`: which there are, and whose an unknown API key is.

use std::fmt::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{asked, data_dir, no_answer, plain, print};
use crate::admin::{self, ProfileStatus, Status};
use crate::cli::ConfigArgs;
use crate::desk::{ClaimRequest, Claimed, is_unknown_key};
use crate::exit::{Exit, Failure, OrExit};

/// `profile`
#[derive(Debug, Clone, Args)]
pub struct ProfileArgs {
    /// What to do.
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum ProfileCommand {
    /// Print the configured profiles, and others that the log holds events of
    List(ListArgs),
    /// Say whose an unknown API key is: its events are sent as that profile's from then on
    Claim(ClaimArgs),
}

#[derive(Debug, Clone, Args)]
struct ListArgs {
    /// As one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Clone, Args)]
struct ClaimArgs {
    /// The unknown key's profile, as `profile list` has it: key-FINGERPRINT
    profile: String,
    /// The configured profile whose URL and key its events are sent with
    #[arg(long = "as", value_name = "NAME")]
    claim_as: String,
    /// Even if it is claimed for another profile. What was tried as that one's and not answered may be billed
    /// to both
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub fn run(args: &ProfileArgs) -> Result<Exit, Failure> {
    match &args.command {
        ProfileCommand::List(args) => list(args),
        ProfileCommand::Claim(args) => claim(args),
    }
}

fn list(args: &ListArgs) -> Result<Exit, Failure> {
    let data_dir = data_dir(&args.config)?;
    let json = admin::ask(&data_dir, "/status").map_err(|error| no_answer(&data_dir, &error))?;
    let status: Status = serde_json::from_str(&json)
        .or_exit(Exit::Usage, "the agent's answer cannot be read; is it of another version?")?;
    let mut text = String::new();
    for profile in &status.profiles {
        if args.json {
            let _ = writeln!(text, "{}", json!(profile));
        } else {
            row(profile, &mut text);
        }
    }
    print(&text)?;
    Ok(Exit::Ok)
}

fn row(profile: &ProfileStatus, text: &mut String) {
    let of = match (&profile.claimed_as, &profile.url) {
        (Some(name), _) => format!("unknown key, claimed as {name}"),
        (None, Some(url)) => url.clone(),
        (None, None) if is_unknown_key(&profile.name) => "unknown key, not claimed".to_owned(),
        (None, None) => "not configured".to_owned(),
    };
    let key = profile.key.as_deref().unwrap_or("no key");
    let _ = writeln!(text, "{}  {}  {}", plain(&profile.name), plain(&of), plain(key));
    let ProfileStatus { waiting, dead, delivered, .. } = profile;
    let _ = writeln!(text, "  {waiting} waiting; {dead} dead; {delivered} delivered");
    for pause in &profile.paused {
        let route = pause.route.as_deref().unwrap_or("everything");
        let _ = writeln!(text, "  paused: {route}: {}", plain(&pause.words));
    }
}

fn claim(args: &ClaimArgs) -> Result<Exit, Failure> {
    let data_dir = data_dir(&args.config)?;
    let ClaimArgs { profile, claim_as, force, .. } = args.clone();
    let claimed: Claimed = asked(&data_dir, "/claims", &ClaimRequest { profile, claim_as, force })?;
    let Claimed { profile, claimed_as, was_already } = claimed;
    print(&if was_already {
        format!("{profile} is claimed as {claimed_as} already\n")
    } else {
        format!("claimed: events of {profile} are sent as {claimed_as}'s from now on\n")
    })?;
    Ok(Exit::Ok)
}
