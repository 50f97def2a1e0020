//! Callers' keys pass through, and stay nowhere.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::gateway::{Gateway, spooled};
use crate::provider::{self, Provider, whole};
use crate::support::{Home, until};

/// One for each way in which a key is sent. None may be found anywhere but with the provider.
const KEYS: [&str; 2] = ["sk-ant-api03-first-AAAA", "sk-ant-oat01-second-BBBB"];

/// All files below a folder, with their bytes.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).expect("listed") {
        let path = entry.expect("listed").path();
        let kind = fs::symlink_metadata(&path).expect("is there").file_type();
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() {
            found.push((path.display().to_string(), fs::read(&path).expect("read")));
        }
    }
}

fn assert_no_key(of: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for key in KEYS {
        // Nor a part of it that would do to know it by.
        let parts = [key, &key[key.len() - 9..]];
        assert!(parts.iter().all(|part| !text.contains(part)), "{of} holds a key:\n{text}");
    }
}

#[test]
fn no_key_of_a_caller_is_in_the_log_the_spool_the_state_or_the_metrics() {
    let home = Home::new();
    let provider = Provider::start(|request, stream| {
        let does = |what: &str| request.head.contains(&format!("do: {what}\r"));
        let json = "content-type: application/json\r\n";
        let result = format!(
            "{{\"custom_id\":\"a\",\"result\":{{\"type\":\"succeeded\",\"message\":{}}}}}\n",
            provider::message("msg_a", 1, 2)
        );
        let answer = match () {
            () if does("refuse") => whole("401 Unauthorized", json, b"{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}"),
            () if does("cut") => [provider::STREAM, &provider::message_start("msg_1", 25)].concat(),
            () if does("break off") => return false,
            () if does("results") => whole("200 OK", "", result.as_bytes()),
            () => provider::says("msg_1", 25, 15),
        };
        stream.write_all(&answer).is_ok() && !does("cut")
    });
    let more = "logging.level = \"trace\"\ngateway.credential_from_key = true\n";
    let gateway = Gateway::start_with(&home, &provider.url(), more);
    let mut metered = 0;
    for key in [format!("X-Api-Key: {}", KEYS[0]), format!("Authorization: Bearer {}", KEYS[1])] {
        for (request, fields, is_metered) in [
            ("POST /v1/messages", "do: answer", true),
            ("POST /v1/messages", "do: refuse", true),
            ("POST /v1/messages", "do: cut", true),
            ("POST /v1/messages", "do: break off", true),
            ("GET /v1/messages/batches/b/results", "do: results", metered == 0),
            ("GET /v1/models", "do: answer", false),
            ("POST /v1/messages", "Origin: https://evil.example", false),
            ("POST /v1/messages", "Transfer-Encoding: nonsense", false),
            ("POST /v1/messages", "nonsense", false),
        ] {
            let mut client = gateway.client();
            client.send(format!(
                "{request} HTTP/1.1\r\nHost: localhost\r\n{key}\r\n{fields}\r\nContent-Length: 13\r\n\r\n{{\"model\":\"m\"}}"
            ));
            client.answer(false);
            metered += usize::from(is_metered);
        }
    }
    let sent = provider.got().iter().map(|got| got.head.clone()).collect::<String>();
    assert!(KEYS.iter().all(|key| sent.contains(key)), "they pass through");
    until("the events are in the spool", || spooled(&home).len(), |count| *count == metered);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_no_key(path, &gateway.shows(path).body);
    }
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "it is at its most verbose: {log}");
    assert_no_key("the log", log.as_bytes());
    let mut found = Vec::new();
    files(&home.path("."), &mut found);
    let has = |what: &str| found.iter().any(|(path, _)| path.contains(what));
    assert!(
        has("/spool/") && has("/results-"),
        "{:?}",
        found.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    found.iter().for_each(|(path, bytes)| assert_no_key(path, bytes));
}
