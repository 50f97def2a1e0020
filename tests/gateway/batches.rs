//! Results of batches, each metered once, and answers that are read on without their client.

use std::io::Write;
use std::sync::mpsc;

use serde_json::json;

use crate::gateway::{Gateway, outline, spooled};
use crate::provider::{self, Provider, whole};
use crate::support::Home;

fn result(name: &str) -> String {
    let message = provider::message(&format!("msg_{name}"), 10, 34);
    format!("{{\"custom_id\":\"{name}\",\"result\":{{\"type\":\"succeeded\",\"message\":{message}}}}}\n")
}

const GET: &str = "GET /v1/messages/batches/msgbatch_1/results HTTP/1.1\r\nHost: localhost\r\nx-revenium-task-type: nightly\r\n\r\n";

#[test]
fn a_result_of_a_batch_is_metered_once_however_often_it_is_fetched() {
    let home = Home::new();
    let lines = [
        result("a"),
        "{\"custom_id\":\"b\",\"result\":{\"type\":\"canceled\"}}\n".to_owned(),
        "{\"custom_id\":\"c\",\"result\":{\"type\":\"errored\",\"error\":{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"m\"}}}}\n".to_owned(),
        result("d"),
    ];
    let body = lines.concat();
    let provider =
        Provider::saying(whole("200 OK", "content-type: application/x-jsonl\r\n", body.as_bytes()));
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(GET);
        assert_eq!(client.answer(false).text(), body);
    }
    // Nor is it after a restart.
    let (code, log) = gateway.stop();
    assert_eq!(code, Some(0), "{log}");
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.send(GET);
    assert_eq!(client.answer(false).text(), body);
    gateway.stop();
    let events = spooled(&home);
    let found: Vec<_> = events.iter().map(outline).collect();
    assert_eq!(found, [("msg_a", "END", 10, 34), ("msg_d", "END", 10, 34)]);
    assert!(
        events.iter().all(|event| event["pricingTier"] == "BATCH" && event["taskType"] == "nightly"),
        "{events:?}"
    );
}

#[test]
fn results_that_came_before_a_download_broke_off_are_metered_and_the_rest_with_the_next() {
    let home = Home::new();
    let body = result("a") + &result("b");
    let cut = result("a").len() + 30;
    let provider = Provider::start(move |request, stream| {
        let answer = whole("200 OK", "content-type: application/x-jsonl\r\n", body.as_bytes());
        let is_cut = request.head.contains("cut: 1");
        let end = if is_cut { answer.len() - body.len() + cut } else { answer.len() };
        stream.write_all(&answer[..end]).is_ok() && !is_cut
    });
    let gateway = Gateway::start(&home, &provider);
    let mut client = gateway.client();
    client.send(GET.replace("\r\n\r\n", "\r\ncut: 1\r\n\r\n"));
    assert!(!client.answer(false).is_whole);
    let mut client = gateway.client();
    client.send(GET);
    assert!(client.answer(false).is_whole);
    let events = gateway.metered(&home);
    assert_eq!(events.iter().map(|event| outline(event).0).collect::<Vec<_>>(), ["msg_a", "msg_b"]);
}

#[test]
fn results_whose_messages_have_an_empty_id_are_told_apart_by_their_places() {
    let home = Home::new();
    let body = result("a").replace("msg_a", "") + &result("b").replace("msg_b", "");
    let gateway = Gateway::start(&home, &Provider::saying(whole("200 OK", "", body.as_bytes())));
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(GET);
        assert!(client.answer(false).is_whole);
    }
    let events = gateway.metered(&home);
    let found: Vec<_> = events.iter().map(|event| outline(event).0).collect();
    assert_eq!(found, ["msgbatch_1-a", "msgbatch_1-b"]);
}

#[test]
fn a_second_gateway_on_what_another_remembers_does_not_start() {
    let home = Home::new();
    let provider = Provider::saying(provider::says("msg_1", 1, 2));
    let gateway = Gateway::start(&home, &provider);
    let (code, said) = Gateway::start_in_vain(&home);
    assert_eq!(code, Some(75), "{said}");
    assert!(said.contains("another gateway (process ") && said.contains("a data_dir of its own"), "{said}");
    gateway.stop();
    Gateway::start(&home, &provider).stop();
}

#[test]
fn an_answer_that_its_client_gave_up_is_read_on_if_asked_for_and_billed_in_full() {
    let home = Home::new();
    let (finish, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let provider = Provider::start(move |request, stream| {
        let begin = [provider::STREAM.to_vec(), provider::message_start("msg_1", 25), provider::delta("one")]
            .concat();
        stream.write_all(&begin).expect("sent");
        wait.lock().expect("one at a time").recv().expect("goes on");
        if request.head.contains("endless: 1") {
            // Until the gateway has had enough.
            while stream.write_all(&provider::delta(&"x".repeat(1000))).is_ok() {}
            return false;
        }
        stream.write_all(&provider::message_end(15)).is_ok()
    });
    let more = "gateway.read_on_max = \"60s\"\ngateway.read_on_bytes_max = \"64KiB\"\n";
    let gateway = Gateway::start_with(&home, &provider.url(), more);
    for fields in ["endless: 0\r\n", "endless: 1\r\n"] {
        let mut client = gateway.client();
        client.post(fields, r#"{"model":"m","stream":true}"#);
        client.read_until("one");
        drop(client);
        finish.send(()).expect("waits");
    }
    crate::support::until("both were asked for", || provider.got().len(), |count| *count == 2);
    let events = gateway.metered(&home);
    let mut found: Vec<_> = events.iter().map(outline).collect();
    found.sort_unstable();
    assert_eq!(found, [("msg_1", "CANCELLED", 25, 1), ("msg_1", "END", 25, 15)]);
    let partial = events.iter().find(|event| event["stopReason"] == "CANCELLED").expect("one");
    assert_eq!(partial["attributes"]["isPartial"], json!(true));
}
