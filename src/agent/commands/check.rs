//! `check`: the configuration in effect, where each value comes from, and what it is worth.

use std::fmt::Write;

use crate::cli::{self, CheckArgs};
use crate::config::{Config, Surroundings};
use crate::exit::{Exit, Failure, OrExit};
use crate::guarantee::Guarantee;

/// Prints it, or every problem.
pub fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let flags = cli::flags(&args.config, &args.listen);
    let around = match Surroundings::of_process() {
        // Of the machine's agent, which root does not run in a shell.
        own if own.uid == 0 => Surroundings::of_agent(args.config.config.as_deref()),
        own => own,
    };
    let config = Config::load(&flags, &around).or_exit(Exit::Config, "the configuration cannot be used")?;
    super::print(&render(&config))?;
    Ok(Exit::Ok)
}

/// One line for each key: name, value, source; then what else there is to know. Secrets are masked.
fn render(config: &Config) -> String {
    let key_width = config.entries.iter().map(|entry| entry.key.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in &config.entries {
        let _ = writeln!(text, "{:key_width$}  {}  ({})", entry.key, entry.shown, entry.source);
    }
    let durability = match Guarantee::of(&config.data_dir) {
        Ok(guarantee) => guarantee.text,
        Err(error) => format!("unknown: {error}"),
    };
    let _ = writeln!(text, "\ndurability: {durability}");
    for warning in &config.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    #[test]
    fn every_value_is_printed_with_its_source_and_no_secret() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("config.toml");
        let toml = "[drain]\nproxy = \"http://user:hunter2@proxy:3128\"\n[profiles.team]\napi_key = \"hak_0123456789abcdef0123\"\n";
        std::fs::write(&file, toml).expect("written");
        let around = Surroundings::new(
            1000,
            [
                ("STATE_DIRECTORY", "/dev/shm/agent"),
                ("REVENIUM_METERING_API_KEY", "rev_mk_0123456789abcdefghij"),
            ],
        );
        let flags = Flags { config: Some(file.clone()), ..Flags::default() };
        let text = render(&Config::load(&flags, &around).expect("is right"));
        let file = file.display();
        for line in [
            "data_dir                             /dev/shm/agent  (default, from $STATE_DIRECTORY)"
                .to_owned(),
            "socket.path                          /tmp/revenium-1000/agent.sock  (default)".to_owned(),
            "store.capacity_bytes                 10GiB  (default)".to_owned(),
            format!("drain.proxy                          ***  ({file}:2)"),
            "profiles.default.api_key             rev_mk_…ghij  ($REVENIUM_METERING_API_KEY)".to_owned(),
            format!("profiles.team.api_key                hak_…0123  ({file}:4)"),
            "durability: weaker: tmpfs is memory: events are lost when the machine stops".to_owned(),
        ] {
            assert!(text.lines().any(|printed| printed == line), "{line:?} is not in\n{text}");
        }
        for secret in ["hunter2", "0123456789abcdef"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
