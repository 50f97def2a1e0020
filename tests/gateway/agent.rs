//! The gateway as the agent hosts it.

use serde_json::Value;

use crate::client::Client;
use crate::provider::{self, Provider};
use crate::support::Home;

#[test]
fn a_call_through_the_agent_s_own_gateway_is_billed() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    let provider = Provider::saying(provider::says("msg_1", 25, 15));
    let more = format!("gateway.listen = \"127.0.0.1:0\"\ngateway.provider_url = \"{}\"\n", provider.url());
    home.deliver_to(&sandbox, &more);
    let agent = home.start();
    let mut client = Client::connect(agent.ready["gateway"].as_str().expect("is on"));
    client.post("x-revenium-organization-name: acme\r\n", r#"{"model":"claude-opus-4"}"#);
    assert!(client.answer(false).is_whole);
    let billed = sandbox.wait_billed(1);
    let event: Value = serde_json::from_str(billed.values().next().expect("one")).expect("JSON");
    assert_eq!((&event["transactionId"], &event["organizationName"]), (&"msg_1".into(), &"acme".into()));
    assert_eq!((&event["inputTokenCount"], &event["provider"]), (&25.into(), &"ANTHROPIC".into()));
    assert_eq!(agent.stop().code, Some(0));
}
