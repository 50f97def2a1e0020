//! Claude Code itself, with the settings of the example.

use std::fs;

use crate::stage::{Stage, root, run, tool};

#[test]
fn what_claude_code_asks_is_billed_by_its_settings_alone() {
    let stage = Stage::new();
    let settings = fs::read_to_string(root().join("examples/claude-code/settings.json")).expect("read");
    let settings = settings.replace("http://127.0.0.1:8794", &stage.gateway());
    fs::create_dir(stage.home.path(".claude")).expect("made");
    stage.home.write(".claude/settings.json", &settings);
    let claude = tool("node/node_modules/@anthropic-ai/claude-code-linux-x64/claude");
    let mut example = stage.command(claude, "");
    // Where to call, the settings say.
    example.env_remove("ANTHROPIC_BASE_URL").env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    example.args(["-p", "What is the meaning of life?", "--model", "claude-sonnet-4-5"]);
    example.stdin(std::process::Stdio::null());
    assert!(run(&mut example).contains("hello"));

    let calls = stage.provider.got().iter().filter(|got| got.head.starts_with("POST /v1/messages?")).count();
    assert!(calls > 0, "{:#?}", stage.provider.got());
    // All of its answers have one id, and so are one event to Revenium; the gateway counts each.
    let metered = "revenium_agent_gateway_requests_total{result=\"metered\"}";
    crate::support::until("each call is metered", || stage.agent.metric(metered), |n| *n == calls as f64);
    stage.sandbox.wait_billed(1);
    let billed = stage.sandbox.billed();
    let event: serde_json::Value = serde_json::from_str(billed.values().next().expect("one")).expect("JSON");
    assert_eq!(
        (&event["agent"], &event["organizationName"], &event["inputTokenCount"]),
        (&"claude-code".into(), &"acme-corp".into(), &25.into())
    );
    assert!(stage.provider.got().iter().all(|got| !got.head.to_lowercase().contains("revenium")));
    stage.agent.stop();
}
