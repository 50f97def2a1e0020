//! Calls that are tried again, and calls that pass two layers.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Extensions;
use reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

use crate::application::{Application, ask, with};
use crate::provider::{self, Provider, whole};

/// Tries a call again while it is answered with 529.
struct Persistent;

#[async_trait::async_trait]
impl Middleware for Persistent {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        loop {
            let again = request.try_clone().expect("its body is bytes");
            let answer = next.clone().run(again, extensions).await?;
            if answer.status() != 529 {
                return Ok(answer);
            }
        }
    }
}

/// A provider that is overloaded at first.
fn overloaded_once() -> Provider {
    let calls = AtomicUsize::new(0);
    let overloaded = whole("529 Overloaded", "", br#"{"type":"error","error":{"type":"overloaded_error"}}"#);
    Provider::start(move |_, stream| {
        let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
        stream.write_all(&if is_first { overloaded.clone() } else { provider::says("msg_1", 25, 15) }).is_ok()
    })
}

#[tokio::test]
async fn what_is_tried_again_is_one_call_above_and_each_attempt_below() {
    let (above, below) = (Application::new(), Application::new());
    let layers: [Vec<Arc<dyn Middleware>>; 2] =
        [vec![above.layer(), Arc::new(Persistent)], vec![Arc::new(Persistent), below.layer()]];
    for layers in layers {
        let provider = overloaded_once();
        ask(&with(layers), &provider).send().await.expect("answered").text().await.expect("read");
        assert_eq!(provider.got().len(), 2);
    }
    assert_eq!(above.outlines(), ["msg_1 complete 25 15"]);
    assert_eq!(below.outlines(), ["- error - -", "msg_1 complete 25 15"]);
}

#[tokio::test]
async fn of_two_layers_in_one_client_one_meters_whatever_is_tried_again_between_them() {
    let (outer, inner) = (Application::new(), Application::new());
    let client = with(vec![outer.layer(), Arc::new(Persistent), inner.layer()]);
    ask(&client, &overloaded_once()).send().await.expect("answered").text().await.expect("read");
    assert_eq!((outer.outlines().len(), inner.outlines().len()), (1, 0));
}

#[tokio::test]
async fn a_call_that_is_metered_elsewhere_is_left_to_who_says_so() {
    let provider = Provider::start(|request, stream| {
        let mark = if request.head.contains("meter-there") { "X-Revenium-Metered: there\r\n" } else { "" };
        stream.write_all(&whole("200 OK", mark, provider::message("msg_1", 1, 2).as_bytes())).is_ok()
    });
    let application = Application::new();
    let client = application.client();
    for (name, value) in [("meter-there", "1"), ("x-revenium-metered", "another layer")] {
        let request = ask(&client, &provider).header(name, value);
        request.send().await.expect("answered").text().await.expect("read");
    }
    assert!(provider.got()[1].head.contains("x-revenium-metered: another layer"), "the request is as it was");
    assert_eq!(application.outlines(), [""; 0]);
}
