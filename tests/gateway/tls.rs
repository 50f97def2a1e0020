//! A provider over https, and behind a proxy.

use std::io::Write;

use crate::client::Answer;
use crate::front::{self, CA, CERTIFICATE, EXPIRED, Proxy};
use crate::gateway::{Gateway, outline};
use crate::provider::{self, Provider};
use crate::support::Home;

/// One that answers as it is asked: with a message or with a stream.
fn provider() -> Provider {
    Provider::start(|request, stream| {
        let streamed = [
            provider::STREAM.to_vec(),
            provider::message_start("msg_2", 25),
            provider::delta("one"),
            provider::message_end(15),
        ];
        let is_stream = request.body.windows(6).any(|word| word == b"stream");
        let answer = if is_stream { streamed.concat() } else { provider::says("msg_1", 7, 3) };
        stream.write_all(&answer).is_ok()
    })
}

/// Calls twice; what was metered, once the gateway has stopped.
fn call_twice(home: &Home, gateway: Gateway) -> Vec<serde_json::Value> {
    let mut client = gateway.client();
    client.post("", r#"{"model":"m"}"#);
    assert_eq!(client.answer(false).text(), provider::message("msg_1", 7, 3));
    client.post("", r#"{"model":"m","stream":true}"#);
    let answer = client.answer(false);
    assert!(answer.is_whole && answer.text().contains("message_stop"), "{answer:?}");
    gateway.metered(home)
}

/// What is told of a provider that is not called, and that nothing was billed.
fn call_in_vain(home: &Home, gateway: Gateway) -> String {
    let mut client = gateway.client();
    client.post("", r#"{"model":"m"}"#);
    let Answer { head, body, .. } = client.answer(false);
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("x-revenium-metered"), "whoever calls may meter it: {head}");
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["error"]["type"], "api_error");
    assert!(gateway.metered(home).is_empty(), "what was not called costs nothing");
    body["error"]["message"].as_str().expect("text").to_owned()
}

#[test]
fn a_provider_over_https_is_trusted_by_the_environment_or_the_configuration_and_metered() {
    let provider = provider();
    let port = front::tls(&provider.address(), CERTIFICATE);
    let url = format!("https://localhost:{port}");
    for (variables, more) in
        [(&[("SSL_CERT_FILE", "ca.pem")][..], ""), (&[][..], "drain.ca_file = \"ca.pem\"\n")]
    {
        let home = Home::new();
        home.write("ca.pem", CA);
        let events = call_twice(&home, Gateway::start_in(&home, variables, &url, more));
        let found: Vec<_> = events.iter().map(outline).collect();
        assert_eq!(found, [("msg_1", "END", 7, 3), ("msg_2", "END", 25, 15)]);
    }
    let got = provider.got();
    assert_eq!((got.len(), provider.connections()), (4, 2), "a connection carries one call after another");
    assert!(
        got.iter().all(|got| got.head.to_ascii_lowercase().contains(&format!("host: localhost:{port}\r")))
    );
}

#[test]
fn a_provider_behind_a_proxy_is_reached_through_a_tunnel_and_metered() {
    let provider = provider();
    let proxy = Proxy::start(Some(front::tls(&provider.address(), CERTIFICATE)));
    let url = format!("http://user:hunter2@{}", proxy.address);
    let setting = format!("drain.proxy = \"{url}\"\n");
    for (variables, more) in [(&[("HTTPS_PROXY", &*url)][..], ""), (&[][..], &*setting)] {
        let home = Home::new();
        home.write("ca.pem", CA);
        let more = format!("drain.ca_file = \"ca.pem\"\n{more}");
        // Nobody but the proxy knows this name.
        let gateway = Gateway::start_in(&home, variables, "https://provider.test", &more);
        let events = call_twice(&home, gateway);
        let found: Vec<_> = events.iter().map(outline).collect();
        assert_eq!(found, [("msg_1", "END", 7, 3), ("msg_2", "END", 25, 15)]);
    }
    for asked in proxy.asked() {
        assert!(asked.starts_with("CONNECT provider.test:443 HTTP/1.1\r\n"), "{asked}");
        assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic "), "{asked}");
    }
    assert_eq!(proxy.asked().len(), 2);
    // It is the proxy's alone.
    assert!(provider.got().iter().all(|got| !got.head.to_ascii_lowercase().contains("proxy")));
}

#[test]
fn a_provider_whose_certificate_is_not_good_is_not_called_and_nothing_is_billed() {
    let provider = provider();
    let trusts = "drain.ca_file = \"ca.pem\"\n";
    let good = format!("https://localhost:{}", front::tls(&provider.address(), CERTIFICATE));
    let expired = format!("https://localhost:{}", front::tls(&provider.address(), EXPIRED));
    let misnamed = good.replace("localhost", "127.0.0.1");
    for (url, more, words) in [
        (&good, "", "UnknownIssuer; an authority of your own is named by drain.ca_file or SSL_CERT_FILE"),
        (&expired, trusts, "certificate expired"),
        (&misnamed, trusts, "certificate not valid for name \"127.0.0.1\""),
    ] {
        let home = Home::new();
        home.write("ca.pem", CA);
        let told = call_in_vain(&home, Gateway::start_with(&home, url, more));
        let begin = format!("revenium gateway: cannot reach the provider at {url} (gateway.provider_url): ");
        assert!(told.starts_with(&begin) && told.contains(words), "{told}");
    }
    assert!(provider.got().is_empty());
}

#[test]
fn a_proxy_that_makes_no_tunnel_is_told_of_and_nothing_is_billed() {
    let proxy = Proxy::start(None);
    let home = Home::new();
    let more = format!("drain.proxy = \"http://user:hunter2@{}\"\n", proxy.address);
    let told = call_in_vain(&home, Gateway::start_with(&home, "https://provider.test", &more));
    let words = format!(" through the proxy http://{}: ", proxy.address);
    assert!(told.contains("cannot reach the provider at https://provider.test"), "{told}");
    assert!(told.contains(&words) && !told.contains("hunter2"), "{told}");
}
