//! `completions`: what a shell needs to complete this command line, on stdout.
//!
//! Made from the command line as it is, without the commands that `--help` hides.

use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};

use crate::cli::Cli;
use crate::exit::{Exit, Failure};

/// The program.
const NAME: &str = env!("CARGO_PKG_NAME");

/// `completions`
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// Whose
    shell: Shell,
}

/// Prints it.
pub fn run(args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut command = visible(&Cli::command());
    let mut script = Vec::new();
    if args.shell == Shell::Bash {
        // clap_complete 4.6 loses its way among the commands of a program with a hyphen in its name
        // (clap-rs/clap#6421). So it gets another one, and the shell is told the right one.
        let stand_in = NAME.replace('-', "_");
        generate(args.shell, &mut command, stand_in.as_str(), &mut script);
        let told = |name: &str| format!(" -o default {name}\n");
        let text = String::from_utf8_lossy(&script).replace(&told(&stand_in), &told(NAME));
        super::print(&text)?;
    } else {
        generate(args.shell, &mut command, NAME, &mut script);
        super::print_bytes(&script)?;
    }
    Ok(Exit::Ok)
}

/// The command without hidden ones, which completions would show.
fn visible(command: &Command) -> Command {
    let about = command.get_about().cloned().unwrap_or_default();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new(NAME).about(about).version(env!("CARGO_PKG_VERSION")).subcommands(shown)
}
