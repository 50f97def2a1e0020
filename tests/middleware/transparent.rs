//! What passes the layer is what passes without it.

use std::io::Write;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use http::Extensions;
use http_body_util::Full;
use reqwest::{Body, Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

use crate::application::{Application, ask, with};
use crate::provider::{self, Provider, whole};

/// All that an application can see of an answer.
async fn seen(mut answer: Response) -> String {
    let head = format!(
        "{} {:?} {} {:?} {:?} {:?}",
        answer.status(),
        answer.version(),
        answer.url(),
        answer.headers(),
        answer.content_length(),
        answer.remote_addr(),
    );
    let mut pieces = Vec::new();
    let end = loop {
        match answer.chunk().await {
            Ok(Some(piece)) => pieces.extend_from_slice(&piece),
            Ok(None) => break "whole".to_owned(),
            Err(error) => break format!("{error} {} {}", error.is_decode(), error.is_timeout()),
        }
    };
    format!("{head}\n{}\n{end}", String::from_utf8_lossy(&pieces))
}

#[tokio::test]
async fn an_application_sees_the_same_with_the_layer_as_without_it() {
    let cut = [provider::STREAM, &provider::message_start("msg_1", 25)[..]].concat();
    let streamed = [&cut[..], &provider::delta("hello"), &provider::message_end(15)].concat();
    let fields = "content-type: application/json\r\nrequest-id: req_1\r\nset-cookie: a\r\nset-cookie: b\r\n";
    let overloaded =
        whole("529 Overloaded", fields, br#"{"type":"error","error":{"type":"overloaded_error"}}"#);
    let empty = whole("200 OK", "", b"");
    let whole = [provider::says("msg_1", 25, 15), streamed, overloaded, empty];
    let answers = whole.map(|answer| (answer, true)).into_iter().chain([(cut, false)]);
    for (answer, is_whole) in answers {
        let provider = Provider::start(move |_, stream| stream.write_all(&answer).is_ok() && is_whole);
        let application = Application::new();
        let without = seen(ask(&with(Vec::new()), &provider).send().await.expect("answered")).await;
        let through = seen(ask(&application.client(), &provider).send().await.expect("answered")).await;
        assert_eq!(through, without);
        let got = provider.got();
        assert_eq!(got[0], got[1], "nothing is added to a request");
    }
}

#[tokio::test]
async fn a_piece_is_the_application_s_before_the_next_one_is_there() {
    let (go_on, may_go_on) = channel();
    let may_go_on = Mutex::new(may_go_on);
    let provider = Provider::start(move |_, stream| {
        stream.write_all(provider::STREAM).expect("sent");
        stream.write_all(&provider::message_start("msg_1", 25)).expect("sent");
        may_go_on.lock().expect("one request").recv().expect("the first piece came");
        stream.write_all(&provider::message_end(15)).is_ok()
    });
    let application = Application::new();
    let mut answer = ask(&application.client(), &provider).send().await.expect("answered");
    let first = answer.chunk().await.expect("came").expect("a piece");
    assert!(first.starts_with(b"event: message_start"), "{first:?}");
    go_on.send(()).expect("waits");
    while answer.chunk().await.expect("came").is_some() {}
    assert_eq!(application.outlines(), ["msg_1 complete 25 15"]);
}

/// Keeps whether the requests that pass could be sent again.
struct Looking(Mutex<Vec<bool>>);

#[async_trait::async_trait]
impl Middleware for Looking {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        self.0.lock().expect("no panic while locked").push(request.try_clone().is_some());
        next.run(request, extensions).await
    }
}

#[tokio::test]
async fn a_body_of_bytes_stays_bytes_and_a_stream_is_passed_on_and_both_are_read() {
    let provider = Provider::saying(whole("400 Bad Request", "", b"{}"));
    let application = Application::new();
    let looking = Arc::new(Looking(Mutex::default()));
    let client = with(vec![application.layer(), looking.clone()]);
    ask(&client, &provider).send().await.expect("answered");
    let body = Full::new(bytes::Bytes::from_static(br#"{"model":"claude-streamed","messages":[]}"#));
    let request = client.post(format!("{}/v1/messages", provider.url())).body(Body::wrap(body));
    request.send().await.expect("answered");
    assert_eq!(*looking.0.lock().expect("no panic while locked"), [true, false]);
    assert_eq!(provider.got()[1].body, br#"{"model":"claude-streamed","messages":[]}"#);
    assert!(provider.got()[1].head.contains("content-length: 41"), "{}", provider.got()[1].head);
    let models: Vec<_> =
        application.metered().iter().map(|call| call["request"]["model"].to_string()).collect();
    assert_eq!(models, [r#""claude-opus""#, r#""claude-streamed""#]);
}
