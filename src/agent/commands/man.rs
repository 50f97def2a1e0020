//! `man`: the manual, a page for each command.
//!
//! Made from the command line as it is, the table of exit codes, and the two lists here: what the agent
//! reads from its environment, and where its files are. Commands that `--help` hides have no page.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::Cli;
use crate::exit::{self, Exit, Failure, OrExit};

/// `man`
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write a page for each command there, instead of the main one to stdout
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// What the agent and its commands read from their environment.
const ENVIRONMENT: [(&str, &str); 13] = [
    ("REVENIUM_METERING_API_KEY", "API key of the profile default; of a sender, whose its events are"),
    ("REVENIUM_METERING_BASE_URL", "URL of the profile default; for Revenium's SDKs, the relay's"),
    ("REVENIUM_METERING_DISABLED", "1: nothing is sent to the agent"),
    ("REVENIUM_LOG_LEVEL", "what is logged: error, warn, info, debug or trace"),
    ("REVENIUM_AGENT_SOCKET", "where applications find the agent's socket"),
    ("REVENIUM_AGENT_AUTOSTART", "1: start starts an agent wherever it is; 0: never"),
    ("REVENIUM_AGENT_SPOOL", "where applications leave events while no agent runs"),
    ("XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR", "a user's own folders"),
    ("STATE_DIRECTORY, RUNTIME_DIRECTORY", "the service's folders, set by systemd"),
    ("CREDENTIALS_DIRECTORY", "where systemd keeps the credentials that profiles name"),
    ("LISTEN_FDS, NOTIFY_SOCKET", "the sockets that systemd holds, and where it is told the state"),
    ("VISUAL, EDITOR", "what dlq edit edits with"),
    ("NO_COLOR", "the log has no colours"),
];

/// Where files are: of a service of the machine, then of a user's own agent.
const FILES: [(&str, &str); 7] = [
    ("/etc/revenium-agent/config.toml, ~/.config/revenium-agent/config.toml", "the configuration"),
    ("conf.d/*.toml beside it", "more of it; later names count over earlier ones"),
    ("/etc/revenium-agent/key", "the API key of the service, 0600; systemd hands it over"),
    ("/var/lib/revenium-agent, ~/.local/state/revenium-agent", "the log: events that are durable"),
    ("~/.local/share/revenium-agent", "the program that start runs, for each version"),
    ("/run/revenium/agent.sock, $XDG_RUNTIME_DIR/revenium/agent.sock", "the socket that takes events"),
    (
        "/var/spool/revenium, ~/.local/state/revenium/spool",
        "events that applications left while no agent ran",
    ),
];

/// Prints the main page, or writes all.
pub fn run(args: &ManArgs) -> Result<Exit, Failure> {
    let pages = pages(&Cli::command()).or_exit(Exit::Io, "cannot make the pages")?;
    match &args.output {
        None => super::print_bytes(&pages[0].1)?,
        Some(dir) => {
            write(dir, &pages).or_exit(Exit::Io, format_args!("cannot write to {}", dir.display()))?
        }
    }
    Ok(Exit::Ok)
}

fn write(dir: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|(name, page)| fs::write(dir.join(name), page))
}

/// The pages with their files' names, the main one first.
fn pages(main: &clap::Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut main = main.clone().disable_help_subcommand(true);
    main = main.subcommand_help_heading("COMMANDS").subcommand_value_name("COMMAND");
    // Gives the commands their full names.
    main.build();
    let source = format!("{} {}", main.get_name(), env!("CARGO_PKG_VERSION"));
    let mut commands = vec![&main];
    let mut pages = Vec::new();
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands().filter(|command| !command.is_hide_set()));
        // An empty date would be left out, and what follows be taken for it.
        let man = Man::new(command.clone()).date(" ").source(&source).manual("Revenium agent");
        let mut page = Vec::new();
        man.render(&mut page)?;
        let more = if pages.is_empty() { main_sections() } else { see_also(main.get_name()) };
        page.extend(more.to_roff().into_bytes());
        pages.push((man.get_filename(), page));
    }
    Ok(pages)
}

fn main_sections() -> Roff {
    let mut roff = Roff::new();
    let status = exit::table().map(|[code, meaning, to_do]| {
        let meaning = meaning.replace('`', "");
        let to_do = to_do.replace('`', "");
        (code, if to_do.is_empty() { meaning } else { format!("{meaning}: {to_do}") })
    });
    section(&mut roff, "EXIT STATUS", status);
    section(&mut roff, "ENVIRONMENT", ENVIRONMENT.map(|(name, words)| (name, words.to_owned())));
    section(&mut roff, "FILES", FILES.map(|(name, words)| (name, words.to_owned())));
    roff
}

fn section(roff: &mut Roff, title: &str, entries: impl IntoIterator<Item = (&'static str, String)>) {
    roff.control("SH", [title]);
    for (name, words) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(words)]);
    }
}

fn see_also(main: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold(main), roman("(1)")]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_help_shows_has_a_page_and_no_other() {
        let command = clap::Command::new("a")
            .subcommand(clap::Command::new("b").subcommand(clap::Command::new("c")))
            .subcommand(clap::Command::new("d").hide(true));
        let pages = pages(&command).expect("made");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.1", "a-b.1", "a-b-c.1"]);
    }
}
