//! Recorded answers of the real provider, through the gateway: each is passed on as it was and metered as it says.
//!
//! The recordings lie beside the checkout, in `../shared/cassettes`; without them there is nothing to test.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::gateway::Gateway;
use crate::provider::{Provider, chunk, whole};
use crate::support::Home;

struct Recorded {
    path: String,
    request: String,
    answer: Vec<u8>,
    body: String,
    /// Input and output tokens that it states, if it is to be metered.
    states: Option<(u64, u64)>,
}

fn recorded() -> Vec<Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cassettes");
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|e| e.expect("listed").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |path: &std::path::PathBuf| -> Value {
        serde_json::from_str(&fs::read_to_string(path).expect("read")).expect("JSON")
    };
    let all =
        files.iter().map(read).flat_map(|file| file["interactions"].as_array().expect("a list").clone());
    all.filter(|one| one["method"] == "POST").map(|one| of(&one)).collect()
}

fn of(one: &Value) -> Recorded {
    let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let (path, body) = (text("path"), text("body"));
    let status = one["status"].as_u64().expect("a status");
    let kind = format!("content-type: {}\r\n", text("content_type"));
    let is_stream = text("content_type").starts_with("text/event-stream");
    let answer = if is_stream {
        let head = format!("HTTP/1.1 {status} OK\r\n{kind}transfer-encoding: chunked\r\n\r\n");
        let chunks: Vec<u8> = body.as_bytes().chunks(97).flat_map(chunk).collect();
        [head.into_bytes(), chunks, b"0\r\n\r\n".to_vec()].concat()
    } else {
        whole(&format!("{status} X"), &kind, body.as_bytes())
    };
    let is_message = path.split('?').next() == Some("/v1/messages");
    let states = is_message.then(|| if status == 200 { stated(&body, is_stream) } else { (0, 0) });
    Recorded { path, request: one["request"].to_string(), answer, body, states }
}

/// The usage that an answer states: of a stream the last of each count.
fn stated(body: &str, is_stream: bool) -> (u64, u64) {
    let mut counts = (0, 0);
    let mut take = |usage: &Value| {
        counts.0 = usage["input_tokens"].as_u64().unwrap_or(counts.0);
        counts.1 = usage["output_tokens"].as_u64().unwrap_or(counts.1);
    };
    if !is_stream {
        take(&serde_json::from_str::<Value>(body).expect("JSON")["usage"]);
    }
    for data in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
        let event: Value = serde_json::from_str(data).expect("JSON");
        take(&event["message"]["usage"]);
        take(&event["usage"]);
    }
    counts
}

#[test]
fn recorded_answers_pass_as_they_are_and_are_metered_as_they_say() {
    let all = Arc::new(recorded());
    let home = Home::new();
    let answers = all.clone();
    let provider = Provider::start(move |request, stream| {
        let at = request.head.split("recording: ").nth(1).and_then(|rest| rest.lines().next());
        let at: usize = at.and_then(|at| at.parse().ok()).expect("is named");
        stream.write_all(&answers[at].answer).is_ok()
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    for (at, one) in all.iter().enumerate() {
        client.send(format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nrecording: {at}\r\nContent-Length: {}\r\n\r\n{}",
            one.path,
            one.request.len(),
            one.request
        ));
        let answer = client.answer(false);
        assert!(answer.is_whole && answer.text() == one.body, "{}", one.path);
    }
    // Passes that are billed apart name their call.
    let events = gateway.metered(&home);
    let calls = events.iter().filter(|event| event.get("parentTransactionId").is_none());
    let metered: Vec<(u64, u64)> = calls
        .map(|event| {
            (
                event["inputTokenCount"].as_u64().expect("a count"),
                event["outputTokenCount"].as_u64().expect("a count"),
            )
        })
        .collect();
    let stated: Vec<(u64, u64)> = all.iter().filter_map(|one| one.states).collect();
    assert_eq!(metered, stated);
}
