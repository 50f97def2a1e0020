//! `setup`: from a key to an agent that runs.
//!
//! Writes the key, a configuration and systemd's units, sends Revenium one marked event and shows its answer,
//! has systemd start the agent if it may, and says how each kind of application is connected. For root that
//! is the machine's agent, for everybody else one of their own. What a person wrote is kept; run again, it
//! changes nothing. What was written stays, whatever comes after it.

mod key;
mod layout;
mod prompt;
mod service;
mod trial;
mod words;
mod write;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::print;
use crate::config::{Config, Flags, MACHINE_FILE, Surroundings};
use crate::exit::{Exit, Failure, OrExit};
use crate::keys::KeySource;
use crate::secret::Secret;
use crate::upstream::Base;
use layout::{Choices, Here, Layout, Whose};
use write::{IfOther, Put};

/// What it does, for `--help`.
const AFTER_HELP: &str = "\
As root it sets up the machine's agent, in /etc/revenium-agent and /etc/systemd/system; as anybody else an \
agent of your own, in ~/.config. The key is never an argument, since others can read those: it comes from \
--key-file, $REVENIUM_METERING_API_KEY, or is asked for.

Exit codes: 0 all is set up; 1 Revenium did not take the test event, or a step failed, which is named; \
2 there is no key; 74 a file cannot be written; 78 the configuration that is there is wrong.";

/// Writes a key, a configuration and systemd's units, tries the key, and says how applications connect.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub struct SetupArgs {
    /// Read the key from this file; "-" is standard input
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Put the new key in the place of the one that is there
    #[arg(long)]
    replace_key: bool,
    /// Where events go, for a new configuration [default: Revenium]
    #[arg(long, value_name = "URL", value_parser = url)]
    url: Option<String>,
    /// Where the relay for Revenium's own SDKs listens, such as 127.0.0.1:8793, for a new configuration
    /// [default: off]
    #[arg(long, value_name = "IP:PORT", value_parser = loopback)]
    relay: Option<SocketAddr>,
    /// Have systemd start the agent, without asking
    #[arg(long)]
    yes: bool,
    /// Send no test event
    #[arg(long)]
    no_test: bool,
    /// Replace a configuration and units that are not as this would write them; the old ones stay as FILE.bak
    #[arg(long)]
    force: bool,
    /// Say what would be written and run, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Caught, so that whoever tries is told why not. The value is not kept.
    #[arg(long, alias = "api-key", hide = true, num_args = 0..=1, default_missing_value = "", value_parser = forgotten)]
    key: Option<()>,
}

/// Does it.
pub fn run(args: &SetupArgs) -> Result<Exit, Failure> {
    if args.key.is_some() {
        return Err(Failure::new(
            Exit::Usage,
            "a key on the command line can be read by every user of this machine: give --key-file FILE (- is \
             standard input), set REVENIUM_METERING_API_KEY, or leave it out to be asked; if that was a real \
             one, replace it",
        ));
    }
    let around = Surroundings::of_process();
    let here = here(&around)?;
    let choices = Choices { url: args.url.clone(), relay: args.relay };
    let layout = Layout::new(&here, &choices);
    print(match here.whose {
        Whose::Machine => "Setting up the agent of this machine\n",
        Whose::User => "Setting up an agent of your own (as root, it would be the machine's)\n",
    })?;
    if args.dry_run {
        return plan(args, &here, &layout);
    }
    // A user's agent reads its key file again by itself.
    let is_key_replaced = write_key(args, &here, &layout.key)? && here.whose == Whose::Machine;
    let is_replaced = write_files(args, &here, &layout)? || is_key_replaced;
    let config = check(&here, &layout, &around)?;
    let is_accepted = args.no_test || try_key(&config)?;
    start(args, &here, &around, is_replaced)?;
    print(&words::connect(here.whose, &layout, &config))?;
    Ok(if is_accepted { Exit::Ok } else { Exit::Failure })
}

fn here(around: &Surroundings) -> Result<Here, Failure> {
    let whose = if around.uid == 0 { Whose::Machine } else { Whose::User };
    let config = match whose {
        Whose::Machine => PathBuf::from(MACHINE_FILE),
        Whose::User => around.own_config().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                "neither HOME nor XDG_CONFIG_HOME says where your configuration goes: set HOME",
            )
        })?,
    };
    let level = if whose == Whose::Machine { "system" } else { "user" };
    let is_packaged = ["/usr/lib", "/lib"]
        .iter()
        .any(|lib| Path::new(lib).join("systemd").join(level).join("revenium-agent.service").exists());
    Ok(Here {
        whose,
        config,
        has_systemd: Path::new("/usr/lib/systemd/systemd").exists()
            || Path::new("/lib/systemd/systemd").exists(),
        is_packaged,
        program: std::env::current_exe().or_exit(Exit::Io, "cannot tell where this program is")?,
    })
}

/// Sees to it that there is a key; whether an old one was replaced.
fn write_key(args: &SetupArgs, here: &Here, path: &Path) -> Result<bool, Failure> {
    let given = key::given(args.key_file.as_deref())?;
    let stays = path.symlink_metadata().is_ok() && !args.replace_key;
    let there = stays.then(|| KeySource::File(path.to_owned()).read()).transpose().or_exit(
        Exit::Config,
        "the key that is there cannot be used (--replace-key writes it anew, or another)",
    )?;
    let key = match (given, there) {
        (Some(key), _) => key,
        (None, Some(key)) => {
            print(&words::of_file(&Put::Same, path, &format!(": {}", key.masked())))?;
            return Ok(false);
        }
        (None, None) => key::asked()?,
    };
    make_folder(here, path)?;
    let if_other = if args.replace_key { IfOther::Replace } else { IfOther::Keep };
    let put = write::put(path, 0o600, format!("{}\n", key.reveal()).as_bytes(), if_other);
    let put = put.or_exit(Exit::Io, "the key was not written")?;
    print(&words::of_file(&put, path, &key_note(&put, &key)))?;
    Ok(matches!(put, Put::Replaced(_)))
}

fn key_note(put: &Put, key: &Secret) -> String {
    match put {
        Put::Kept => {
            format!(": it holds another key than {}, which --replace-key puts in its place", key.masked())
        }
        _ => format!(" (mode 0600): {}", key.masked()),
    }
}

/// Writes what is missing; whether something old was replaced.
fn write_files(args: &SetupArgs, here: &Here, layout: &Layout) -> Result<bool, Failure> {
    let mut is_replaced = false;
    let if_other = if args.force { IfOther::BackUp } else { IfOther::Keep };
    for file in &layout.files {
        make_folder(here, &file.path)?;
        let put = write::put(&file.path, 0o644, file.text.as_bytes(), if_other);
        let put = put.or_exit(Exit::Io, "not all was written")?;
        let note =
            if put == Put::Kept { ": it is another than this would write; --force replaces it" } else { "" };
        print(&words::of_file(&put, &file.path, note))?;
        is_replaced |= matches!(put, Put::Replaced(_));
    }
    if let Some(path) = &layout.program {
        let put = write::put(path, 0o755, &this_program()?, IfOther::Replace);
        let put = put.or_exit(Exit::Io, "not all was written")?;
        print(&words::of_file(&put, path, ", where the service can run it"))?;
        is_replaced |= matches!(put, Put::Replaced(_));
    }
    if here.is_packaged {
        print("  found      systemd's units, as a package has them\n")?;
    }
    Ok(is_replaced)
}

/// The program's bytes, even of one whose file is gone.
fn this_program() -> Result<Vec<u8>, Failure> {
    std::fs::read("/proc/self/exe").or_exit(Exit::Io, "cannot read this program")
}

fn make_folder(here: &Here, file: &Path) -> Result<(), Failure> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    write::make_folder(folder, here.whose == Whose::User).or_exit(Exit::Io, "nothing was written there")
}

/// The configuration as the agent will see it.
fn check(here: &Here, layout: &Layout, around: &Surroundings) -> Result<Config, Failure> {
    let around = match here.whose {
        Whose::Machine => Surroundings::of_service(),
        Whose::User => around.of_own_service(),
    };
    let flags = Flags { config: Some(layout.config().to_owned()), ..Flags::default() };
    let config = Config::load(&flags, &around).or_exit(Exit::Config, "the configuration cannot be used")?;
    let source = config.profile("default").and_then(|profile| profile.key.as_ref());
    let is_ours = match source {
        Some(KeySource::File(path) | KeySource::Credential(path)) => *path == layout.key,
        Some(KeySource::Inline(_)) | None => false,
    };
    if !is_ours {
        let (config, key) = (layout.config().display(), layout.key.display());
        print(&format!("  note       {config} takes its key from elsewhere, not from {key}\n"))?;
    }
    Ok(config)
}

/// Whether Revenium takes an event with this key.
fn try_key(config: &Config) -> Result<bool, Failure> {
    let Some(profile) = config.profile("default") else { return Ok(false) };
    print("\nTest event (no tokens, task type setup-test): ")?;
    let trial = trial::send(config, profile)?;
    print(&format!("{}\n", trial.words))?;
    if !trial.is_accepted {
        print(
            "What was written stays, and events wait until this is mended; `revenium-agent doctor` looks further.\n",
        )?;
    }
    Ok(trial.is_accepted)
}

/// Starts the service if it may, else says how.
fn start(args: &SetupArgs, here: &Here, around: &Surroundings, is_replaced: bool) -> Result<(), Failure> {
    if !here.has_systemd {
        let config = here.config.display();
        return print(&format!("\nStart it: revenium-agent run --config {config}\n"));
    }
    let commands = service::commands(here.whose, is_replaced);
    let is_up = service::is_up(here.whose, around);
    if is_up && !is_replaced && service::is_active(here.whose) {
        return print("\nThe service runs.\n");
    }
    let is_told = || match args.yes {
        true => Ok(true),
        false => prompt::agrees("\nHave systemd start it now?").or_exit(Exit::Io, "cannot ask"),
    };
    if is_up && is_told()? {
        service::run(&commands)?;
        print("\nThe service runs.\n")?;
    } else {
        let lines: String = commands.iter().map(|words| format!("  {}\n", words.join(" "))).collect();
        print(&format!("\nStart it:\n{lines}"))?;
    }
    if here.whose == Whose::User {
        print("It runs while you are logged in; always, after: loginctl enable-linger\n")?;
    }
    Ok(())
}

/// Says what would be done.
fn plan(args: &SetupArgs, here: &Here, layout: &Layout) -> Result<Exit, Failure> {
    let key = if layout.key.symlink_metadata().is_ok() { Put::Kept } else { Put::Written };
    let key = if key == Put::Kept && !args.replace_key { Put::Same } else { key };
    print(&words::of_plan(&key, &layout.key, args.replace_key))?;
    for file in &layout.files {
        let put = write::look(&file.path, file.text.as_bytes()).or_exit(Exit::Io, "cannot look")?;
        print(&words::of_plan(&put, &file.path, args.force))?;
    }
    if let Some(path) = &layout.program {
        let put = write::look(path, &this_program()?).or_exit(Exit::Io, "cannot look")?;
        print(&words::of_plan(&put, path, true))?;
    }
    if here.has_systemd {
        for words in service::commands(here.whose, false) {
            print(&format!("  would run      {}\n", words.join(" ")))?;
        }
    }
    Ok(Exit::Ok)
}

/// A URL that a profile may have.
fn url(text: &str) -> Result<String, String> {
    Base::parse(text, false).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// An address that no token has to guard.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() && address.port() != 0 => Ok(address),
        Ok(_) => {
            Err("beyond loopback the relay needs a token (relay.token_file): write it into the configuration"
                .to_owned())
        }
        Err(_) => Err("write an address and a port, such as 127.0.0.1:8793".to_owned()),
    }
}

fn forgotten(_: &str) -> Result<(), String> {
    Ok(())
}
