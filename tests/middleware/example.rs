//! The crate's example, run as it stands in its docs, before a real agent.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::provider::{self, Provider};
use crate::support::Home;

#[test]
fn the_example_s_call_is_billed_as_its_metadata_says() {
    let (home, provider) = (Home::new(), Provider::saying(provider::says("msg_1", 25, 15)));
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let programs = Path::new(env!("CARGO_BIN_EXE_revenium-agent")).parent().expect("a folder");
    let mut example = Command::new(programs.join("examples/message"));
    example.env_clear().env("REVENIUM_AGENT_SOCKET", home.socket());
    example.env("ANTHROPIC_BASE_URL", provider.url()).env("ANTHROPIC_API_KEY", "sk-ant-test");
    let output = example.output().expect("cargo builds examples with all tests of the workspace");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"text\":\"hello\""));
    let billed = sandbox.wait_billed(1);
    let event: Value = serde_json::from_str(billed.values().next().expect("one")).expect("JSON");
    let said = json!([
        event["transactionId"],
        event["inputTokenCount"],
        event["outputTokenCount"],
        event["traceId"],
        event["agent"],
        event["organizationName"],
        event["subscriber"]["email"],
        event["provider"],
    ]);
    let expected = json!([
        "msg_1",
        25,
        15,
        "conv-28a7e9d4",
        "support-agent",
        "acme-corp",
        "user@example.com",
        "ANTHROPIC"
    ]);
    assert_eq!(said, expected);
    agent.stop();
}
