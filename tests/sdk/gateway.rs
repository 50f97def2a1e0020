//! Anthropic's own SDK through the gateway: what it sees, and what is billed.

use serde_json::Value;

use crate::python::{Anthropic, run};
use crate::support::Home;

#[test]
fn anthropic_s_sdk_sees_no_gateway_and_each_of_its_calls_is_billed_once() {
    let (home, anthropic) = (Home::new(), Anthropic::start());
    let sandbox = home.sandbox(&[]);
    let more = format!("gateway.listen = \"127.0.0.1:0\"\ngateway.provider_url = \"{}\"\n", anthropic.url());
    home.deliver_to(&sandbox, &more);
    let agent = home.start();
    let gateway = format!("http://{}", agent.ready["gateway"].as_str().expect("is on"));
    let mut case = anthropic.case("gateway.py", &gateway);
    case.env("ANTHROPIC_BASE_URL", &gateway).env("DIRECT", anthropic.url());
    run(case);
    // Four calls that succeed, one that breaks off, one that is refused, one that is tried twice.
    let billed = sandbox.wait_billed(8);
    let mut ends: Vec<(String, u64)> = billed
        .values()
        .map(|body| {
            let event: Value = serde_json::from_str(body).expect("JSON");
            assert_eq!(event["agent"], "support");
            let retry = event["retryNumber"].as_u64().expect("the SDK says it");
            (event["stopReason"].as_str().expect("text").to_owned(), retry)
        })
        .collect();
    ends.sort_unstable();
    let expected = [
        ("END", 0),
        ("END", 0),
        ("END", 0),
        ("END", 0),
        ("ERROR", 0),
        ("ERROR", 0),
        ("ERROR", 0),
        ("ERROR", 1),
    ];
    assert_eq!(ends, expected.map(|(end, retry)| (end.to_owned(), retry)));
    agent.stop();
}
