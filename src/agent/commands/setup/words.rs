//! What `setup` says: of each file, and at its end, how every kind of application is connected.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use super::layout::{Layout, Whose};
use super::write::Put;
use crate::config::Config;

/// The relay's usual address.
const RELAY: &str = "127.0.0.1:8793";

/// A line about a file that was to be written.
pub(super) fn of_file(put: &Put, path: &Path, note: &str) -> String {
    let path = path.display();
    match put {
        Put::Written => format!("  wrote      {path}{note}\n"),
        Put::Same => format!("  unchanged  {path}{note}\n"),
        Put::Kept => format!("  kept       {path}{note}\n"),
        Put::Replaced(None) => format!("  replaced   {path}{note}\n"),
        Put::Replaced(Some(backup)) => {
            let backup = backup.file_name().unwrap_or_default().display();
            format!("  replaced   {path}{note}; the old one is {backup}\n")
        }
    }
}

/// A line about a file that would be looked at.
pub(super) fn of_plan(put: &Put, path: &Path, may_replace: bool) -> String {
    let path = path.display();
    match put {
        Put::Written => format!("  would write    {path}\n"),
        Put::Kept if may_replace => format!("  would replace  {path}\n"),
        Put::Kept => format!("  would keep     {path}, which is another\n"),
        Put::Same | Put::Replaced(_) => format!("  unchanged      {path}\n"),
    }
}

/// How applications are connected, and how to look.
pub(super) fn connect(whose: Whose, layout: &Layout, config: &Config) -> String {
    let socket = config.socket.path.display();
    let mut text = String::from("\nConnect your applications:\n");
    let mut line = |what: &str, how: &str| _ = writeln!(text, "  {what:17}{how}");
    line("any command", "revenium-agent exec -- python3 app.py");
    line(
        "this shell",
        "revenium-agent send --model claude-sonnet-4 --provider Anthropic --input-tokens 25 --output-tokens 15",
    );
    match config.relay.listen {
        Some(relay) => line("Revenium's SDKs", &base_url(relay)),
        None => {
            line("Revenium's SDKs", &format!("export REVENIUM_METERING_BASE_URL=http://{RELAY}"));
            line("", &format!("once the relay is on: {}", relay_on(whose, layout)));
        }
    }
    line("Rust", "revenium_emitter::Emitter::new() finds the agent");
    line(
        "anything else",
        &format!(
            "echo '{{\"model\":\"claude-sonnet-4\",\"inputTokenCount\":25,\"outputTokenCount\":15}}' | nc -N -U {socket}"
        ),
    );
    match whose {
        Whose::Machine => {
            line("who may", "root, and members of the group revenium: usermod -aG revenium USER");
            text.push_str("How it does: systemctl status revenium-agent\n");
        }
        Whose::User => text.push_str("How it does: revenium-agent status\n"),
    }
    text
}

fn base_url(relay: SocketAddr) -> String {
    format!("export REVENIUM_METERING_BASE_URL=http://{relay}")
}

fn relay_on(whose: Whose, layout: &Layout) -> String {
    let restart = match whose {
        Whose::Machine => "systemctl restart revenium-agent",
        Whose::User => "systemctl --user restart revenium-agent",
    };
    format!("relay.listen = \"{RELAY}\" in {}, and: {restart}", layout.config().display())
}
