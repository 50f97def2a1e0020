//! What `setup` says: of each file, and at its end, how every kind of application is connected.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::layout::{Layout, Whose};
use super::write::Put;
use crate::commands::gateway::LISTEN as GATEWAY;
use crate::config::Config;

/// The relay's usual address.
const RELAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8793);

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
    line("Python", "import revenium_middleware_anthropic");
    line(
        "Rust, reqwest",
        "reqwest_middleware::ClientBuilder::new(client).with(revenium_middleware::Metering::new(Emitter::new()))",
    );
    line("Rust", "revenium_emitter::Emitter::new() finds the agent");
    let gateway = config.gateway.listen.unwrap_or(GATEWAY);
    line("calls Anthropic", &format!("export ANTHROPIC_BASE_URL=http://{gateway}"));
    if config.gateway.listen.is_none() {
        line("", &format!("once the gateway is on: {}", gateway_on(whose, layout)));
    }
    line(
        "Claude Code",
        &format!("{{\"env\":{{\"ANTHROPIC_BASE_URL\":\"http://{gateway}\"}}}} in ~/.claude/settings.json"),
    );
    let relay = config.relay.listen.unwrap_or(RELAY);
    line("Revenium's SDKs", &format!("export REVENIUM_METERING_BASE_URL=http://{relay}"));
    if config.relay.listen.is_none() {
        line("", &format!("once the relay is on: {}", listens(whose, layout, "relay", RELAY)));
    }
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

/// The machine's has a process and a socket of its own; a user's is hosted by the agent.
fn gateway_on(whose: Whose, layout: &Layout) -> String {
    match whose {
        // Its socket alone would start it with the first call, and until then it would count as down.
        Whose::Machine => {
            "systemctl enable --now revenium-agent-gateway.socket revenium-agent-gateway.service".to_owned()
        }
        Whose::User => listens(whose, layout, "gateway", GATEWAY),
    }
}

/// How a way in is turned on that the agent itself listens for.
fn listens(whose: Whose, layout: &Layout, way: &str, address: SocketAddr) -> String {
    let restart = match whose {
        Whose::Machine => "systemctl restart revenium-agent",
        Whose::User => "systemctl --user restart revenium-agent",
    };
    // Further down it would be a key of the table above it.
    format!("{way}.listen = \"{address}\" at the top of {}, and: {restart}", layout.config().display())
}
