//! The README's gateway.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Reader, said};

/// The gateway before a stand-in for Anthropic, and a client with curl. No agent is there.
pub(super) fn the_gateway(reader: &Reader) {
    let anthropic = TcpListener::bind("127.0.0.1:0").expect("listens");
    let url = format!("http://{}", anthropic.local_addr().expect("has an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = anthropic.accept().expect("accepted");
        let (mut came, mut bytes) = (Vec::new(), [0; 4096]);
        while !came.ends_with(b"]}") {
            let count = stream.read(&mut bytes).expect("sent");
            came.extend_from_slice(&bytes[..count]);
        }
        let body = r#"{"id":"msg_1","type":"message","model":"claude-sonnet-4","content":[],"stop_reason":"end_turn","usage":{"input_tokens":8,"output_tokens":3}}"#;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("answered");
        // Until the gateway closes it.
        let _ = stream.read(&mut bytes);
    });
    let more = format!("--listen 127.0.0.1:0 --provider-url {url} --ready-file gateway-ready");
    let gateway = reader.start("revenium-agent gateway", &more);
    let ready = reader.ready("gateway-ready");
    let lines = [
        "export ANTHROPIC_BASE_URL=http://127.0.0.1:8794",
        r#"curl -s http://127.0.0.1:8794/v1/messages -H "x-api-key: $ANTHROPIC_API_KEY" -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' -H 'x-revenium-organization-name: acme' -d '{"model":"claude-sonnet-4","max_tokens":16,"messages":[{"role":"user","content":"Hello"}]}'"#,
    ];
    let script = format!("ANTHROPIC_API_KEY=sk-ant-0\n{}", reader.script(&lines));
    let script = script.replace("127.0.0.1:8794", ready["gateway"].as_str().expect("an address"));
    let output = reader.shell(&script).output().expect("sh runs");
    assert!(output.status.success() && said(&output).contains(r#""output_tokens":3"#), "{}", said(&output));
    gateway.stop();
    let spool = reader.path("spool");
    let files =
        fs::read_dir(&spool).expect("made").map(|entry| fs::read_to_string(entry.expect("listed").path()));
    let events: String = files.map(|text| text.unwrap_or_default()).collect();
    assert!(events.contains("\"msg_1\"") && events.contains("\"organizationName\":\"acme\""), "{events}");
    fs::remove_dir_all(spool).expect("removed");
}
