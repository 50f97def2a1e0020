//! What systemd is asked for, and whether it can be asked.

use std::path::Path;
use std::process::{Command, Stdio};

use super::layout::Whose;
use crate::config::Surroundings;
use crate::exit::{Exit, Failure, OrExit};

/// A command, word by word.
type Words = &'static [&'static str];

/// Makes the user, the spool and the running service of the machine.
const MACHINE: [Words; 4] = [
    &["systemd-sysusers", "revenium-agent.conf"],
    &["systemd-tmpfiles", "--create", "revenium-agent.conf"],
    &["systemctl", "daemon-reload"],
    &[
        "systemctl",
        "enable",
        "--now",
        "revenium-agent.socket",
        "revenium-agent-key.path",
        "revenium-agent.service",
    ],
];

/// The same for a user's own.
const USER: [Words; 2] = [
    &["systemctl", "--user", "daemon-reload"],
    &["systemctl", "--user", "enable", "--now", "revenium-agent.service"],
];

/// The commands that start it; one that runs is restarted if something was replaced under it.
pub(super) fn commands(whose: Whose, is_replaced: bool) -> Vec<Words> {
    let (start, restart): (&[Words], Words) = match whose {
        Whose::Machine => (&MACHINE, &["systemctl", "try-restart", "revenium-agent.service"]),
        Whose::User => (&USER, &["systemctl", "--user", "try-restart", "revenium-agent.service"]),
    };
    start.iter().copied().chain(is_replaced.then_some(restart)).collect()
}

/// Whether a systemd runs that would start it.
pub(super) fn is_up(whose: Whose, around: &Surroundings) -> bool {
    match whose {
        Whose::Machine => Path::new("/run/systemd/system").is_dir(),
        Whose::User => around.runtime_dir().is_some_and(|dir| dir.join("systemd/private").exists()),
    }
}

/// Whether it runs already.
pub(super) fn is_active(whose: Whose) -> bool {
    let mut command = Command::new("systemctl");
    if whose == Whose::User {
        command.arg("--user");
    }
    command.args(["is-active", "--quiet", "revenium-agent.service"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs the commands; the first that fails ends it.
pub(super) fn run(commands: &[Words]) -> Result<(), Failure> {
    for words in commands {
        let text = words.join(" ");
        let status = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).status();
        let status = status.or_exit(Exit::Failure, format_args!("cannot run `{text}`"))?;
        if !status.success() {
            return Err(Failure::new(
                Exit::Failure,
                format_args!("`{text}` failed ({status}); `systemctl status revenium-agent` may say why"),
            ));
        }
    }
    Ok(())
}
