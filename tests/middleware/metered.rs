//! What is metered of a call, and as whose.

use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use revenium_middleware::{Metadata, Subscriber};
use serde_json::json;

use crate::application::{Application, ask};
use crate::provider::{self, Provider, STREAM, whole};
use crate::support::unused_address;

#[tokio::test]
async fn each_way_that_a_call_ends_is_one_record() {
    let provider = Provider::start(|request, stream| {
        let is = |how: &str| request.head.contains(&format!("want: {how}\r"));
        let begun = [STREAM, &provider::message_start("msg_s", 25)[..], &provider::delta("hello")].concat();
        if is("plain") {
            stream.write_all(&provider::says("msg_1", 25, 15)).is_ok()
        } else if is("stream") {
            stream.write_all(&[begun, provider::message_end(15)].concat()).is_ok()
        } else if is("cut") {
            stream.write_all(&begun).is_ok() && false
        } else if is("silence") {
            // Until the client is gone.
            let _ = stream.read(&mut [0]);
            false
        } else if is("open") {
            stream.write_all(&begun).expect("sent");
            let _ = stream.read(&mut [0]);
            false
        } else if is("endless") {
            let piece = provider::chunk(provider::message("msg_3", 25, 15).as_bytes());
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(&[&head[..], &piece].concat()).is_ok() && false
        } else if is("short") {
            stream.write_all(&provider::says("msg_2", 25, 15)[..150]).is_ok() && false
        } else {
            let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
            stream.write_all(&whole("529 Overloaded", "request-id: req_1\r\n", body)).is_ok()
        }
    });
    let application = Application::new();
    let client = application.client();
    let want = |how: &str| ask(&client, &provider).header("want", how);
    // Read to the end, whole, cut and short of their length.
    for how in ["plain", "stream", "cut", "short", "endless", "error"] {
        let _ = want(how).send().await.expect("answered").text().await;
    }
    // Not asked for its end, which a known length makes needless.
    let mut answer = want("plain").send().await.expect("answered");
    while answer.content_length() != Some(0) {
        answer.chunk().await.expect("came").expect("a piece");
    }
    drop(answer);
    // Given up by the application: in its middle, at its deadline, unread, and before there was an answer.
    let mut answer = want("open").send().await.expect("answered");
    answer.chunk().await.expect("came");
    drop(answer);
    let timed = want("open").timeout(Duration::from_millis(500)).send().await.expect("answered");
    assert!(timed.text().await.expect_err("no end").is_timeout());
    want("error").send().await.expect("answered").error_for_status().expect_err("529");
    tokio::select! {
        _ = want("silence").send() => panic!("no answer comes"),
        () = async { while provider.got().len() < 11 { tokio::task::yield_now().await } } => {}
    }
    assert!(
        want("silence")
            .timeout(Duration::from_millis(500))
            .send()
            .await
            .expect_err("none comes")
            .is_timeout()
    );
    assert_eq!(
        application.outlines(),
        [
            "msg_1 complete 25 15",
            "msg_s complete 25 15",
            "msg_s cut 25 1",
            "- cut - -",
            "msg_3 cut 25 15",
            "- error - -",
            "msg_1 complete 25 15",
            "msg_s cancelled 25 1",
            "msg_s cancelled 25 1",
            "- error - -",
            "- cancelled - -",
            "- error - -",
        ]
    );
    let errors: Vec<_> = application.metered().iter().map(|call| call["error"].clone()).collect();
    assert_eq!(errors[5], json!({"status": 529, "type": "overloaded_error"}));
    assert_eq!(errors[9], json!({"status": 529}), "its body was not read");
    assert_eq!(errors[11], json!({"class": "APITimeoutError"}));
}

#[tokio::test]
async fn what_is_no_call_is_not_metered() {
    let message = provider::message("msg_1", 1, 1);
    let provider = Provider::start(move |request, stream| {
        let body = if request.head.contains("/chat/") { "{}" } else { &message };
        stream.write_all(&whole("200 OK", "", body.as_bytes())).is_ok()
    });
    let application = Application::new();
    let client = application.client();
    let url = |path: &str| format!("{}{path}", provider.url());
    for path in
        ["/v1/messages/count_tokens", "/v1/messages/batches", "/v1/files", "/v2/other", "/chat/v1/messages"]
    {
        client.post(url(path)).body("{}").send().await.expect("answered").text().await.expect("read");
    }
    for path in ["/v1/messages", "/v1/models"] {
        client.get(url(path)).send().await.expect("answered").text().await.expect("read");
    }
    // A stranger's messages, given up: no model is named.
    let mut answer =
        client.post(url("/chat/v1/messages")).body("{\"text\":\"hi\"}").send().await.expect("answered");
    assert_eq!(answer.chunk().await.expect("came").as_deref(), Some(&b"{}"[..]));
    drop(client.post(url("/chat/v1/messages")).body("{}").send().await.expect("answered"));
    // Nobody there to be sent to.
    let nobody = client.post(format!("http://{}/v1/messages", unused_address())).body("{\"model\":\"m\"}");
    nobody.send().await.expect_err("refused");
    assert_eq!(application.outlines(), [""; 0]);
}

#[tokio::test]
async fn metadata_of_a_request_wins_over_its_task_s_and_none_goes_out() {
    let provider = Provider::saying(provider::says("msg_1", 25, 15));
    let application = Application::new();
    let client = application.client();
    let read = async |request: reqwest_middleware::RequestBuilder| {
        request.send().await.expect("answered").text().await.expect("read")
    };
    let task = Metadata::new().agent("support").organization("acme");
    task.scope(async {
        read(ask(&client, &provider)).await;
        let own = Metadata::new().agent("sales").subscriber(&Subscriber::new().id("u-7"));
        read(ask(&client, &provider).with_extension(own)).await;
    })
    .await;
    read(ask(&client, &provider)).await;
    let metadata: Vec<_> = application.metered().iter().map(|call| call["usage_metadata"].clone()).collect();
    let own = json!({"agent": "sales", "organization_id": "acme", "subscriber": {"id": "u-7"}});
    assert_eq!(metadata, [json!({"agent": "support", "organization_id": "acme"}), own, json!(null)]);
    for got in provider.got() {
        assert!(!got.head.contains("revenium") && !got.head.contains("acme"), "{}", got.head);
    }
}

#[tokio::test]
async fn metadata_that_is_too_large_does_not_cost_the_call() {
    let provider = Provider::saying(provider::says("msg_1", 25, 15));
    let application = Application::new();
    let large = Metadata::new().agent("support").field("notes", "x".repeat(2 << 20));
    let request = ask(&application.client(), &provider).with_extension(large);
    request.send().await.expect("answered").text().await.expect("read");
    assert_eq!(application.outlines(), ["msg_1 complete 25 15"]);
}

#[tokio::test]
async fn each_result_of_a_batch_that_succeeded_is_metered_as_it_passes() {
    let line = |id: &str, result: &str| format!("{{\"custom_id\":\"{id}\",\"result\":{result}}}\n");
    let succeeded = |id: &str| {
        line(id, &format!("{{\"type\":\"succeeded\",\"message\":{}}}", provider::message(id, 10, 34)))
    };
    let failed = r#"{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error"}}}"#;
    let body = [succeeded("msg_1"), line("b", failed), "nonsense\n".to_owned(), succeeded("msg_2")].concat();
    let provider = Provider::saying(whole("200 OK", "", body.trim_end().as_bytes()));
    let application = Application::new();
    let url = format!("{}/v1/messages/batches/msgbatch_1/results", provider.url());
    application.client().get(url).send().await.expect("answered").text().await.expect("read");
    assert_eq!(application.outlines(), ["msg_1 complete 10 34", "msg_2 complete 10 34"]);
    let first = &application.metered()[0];
    assert_eq!((&first["batch_id"], &first["custom_id"]), (&json!("msgbatch_1"), &json!("msg_1")));
}

#[tokio::test]
async fn an_answer_that_stays_compressed_passes_as_it_came_and_its_call_is_a_record_without_tokens() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(provider::message("msg_1", 25, 15).as_bytes()).expect("written");
    let packed = packed.finish().expect("written");
    let provider = Provider::saying(whole("200 OK", "content-encoding: gzip\r\n", &packed));
    let application = Application::new();
    let answer = ask(&application.client(), &provider).header("accept-encoding", "gzip").send().await;
    assert_eq!(answer.expect("answered").bytes().await.expect("read"), packed);
    assert_eq!(application.outlines(), ["- cut - -"]);
    assert_eq!(application.metered()[0]["request"]["model"], "claude-opus");
    let log = String::from_utf8_lossy(&log.0.lock().expect("no panic while locked")).into_owned();
    assert_eq!(log.matches("let reqwest decompress").count(), 1, "{log}");
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic while locked").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
