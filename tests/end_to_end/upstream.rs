//! Upstreams that are not what they should be.

use std::io::BufRead;

use revenium_agent::sandbox::What;

use crate::support::{Home, Producer, until};

/// Events met an upstream that always answers with `fault`: they wait for the right one.
fn kept_until_the_url_is_mended(fault: &str, reason: &str) {
    let home = Home::new();
    let script = format!(r#"{{"steps":[{{"fault":{{"kind":"{fault}"}},"times":1000000}}]}}"#);
    let wrong = crate::support::Sandbox::start(
        &home.path("wrong"),
        &["--key", &format!("{}=team", crate::support::KEY), "--fault-script", &script],
    );
    home.deliver_to(&wrong, "");
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 100, 20).expect("durable");
    // What is shown follows the log a moment later.
    let status = home.wait_status("a pause and all events", |status| {
        status["profiles"][0]["paused"][0].is_object() && status["profiles"][0]["waiting"] == 100
    });
    assert_eq!(status["profiles"][0]["paused"][0]["reason"], reason, "{status}");
    assert_eq!((&status["profiles"][0]["waiting"], &status["profiles"][0]["dead"]), (&100.into(), &0.into()));
    assert_eq!(wrong.count(What::Billed), 0);
    agent.stop();

    let right = home.sandbox(&[]);
    home.deliver_to(&right, "");
    let agent = home.start();
    right.wait_billed(100);
    let status = home.wait_drained();
    assert_eq!(status["profiles"][0]["paused"], serde_json::json!([]));
    agent.stop();
}

#[test]
fn a_200_with_html_is_no_delivery() {
    kept_until_the_url_is_mended("200-html", "proxy");
}

#[test]
fn a_redirect_is_not_followed() {
    kept_until_the_url_is_mended("307", "redirect");
}

#[test]
fn an_upstream_that_is_the_agent_itself_is_refused() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    drop(taken);
    for host in ["localhost", "127.0.0.1", "127.0.0.1."] {
        home.deliver_to_url(&format!("http://{host}:{port}"), "");
        let ended = home.run(&["run", "--admin", &format!("127.0.0.1:{port}")]);
        assert_eq!(ended.code, Some(78), "{host}: {}", ended.stderr);
        assert!(ended.stderr.contains("is this agent's own admin.listen"), "{}", ended.stderr);
    }
}

#[test]
fn a_proxy_is_asked_unless_no_proxy_names_the_host() {
    for (of_environment, no_proxy, is_asked) in
        [(true, "", true), (true, "127.0.0.1", false), (false, "", true)]
    {
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", proxy.local_addr().expect("bound"));
        let home = Home::new();
        let configured = if of_environment { String::new() } else { format!("drain.proxy = \"{url}\"\n") };
        // Nobody listens on the discard port.
        home.deliver_to_url("https://127.0.0.1:9", &configured);
        let of_environment = if of_environment { &*url } else { "" };
        let agent = home.start_in(
            &[("HTTPS_PROXY", of_environment), ("NO_PROXY", no_proxy)],
            &["--config", "config.toml"],
        );
        Producer::new(1).run(&home.socket(), 1, 1).expect("durable");
        proxy.set_nonblocking(true).expect("set");
        if is_asked {
            let (stream, _) =
                until("the proxy is asked", || proxy.accept().ok(), Option::is_some).expect("it was");
            stream.set_nonblocking(false).expect("set");
            let mut line = String::new();
            std::io::BufReader::new(stream).read_line(&mut line).expect("said");
            assert_eq!(line.trim_end(), "CONNECT 127.0.0.1:9 HTTP/1.1");
        } else {
            home.wait_status("a try has failed", |status| status["pace"][0]["note"].is_string());
            assert_eq!(proxy.accept().expect_err("nobody asked").kind(), std::io::ErrorKind::WouldBlock);
        }
        agent.stop();
    }
}

#[test]
fn refused_records_become_dead_letters_and_the_rest_is_delivered() {
    let home = Home::new();
    let script = r#"{"steps":[{"fault":{"kind":"422"},"times":2}]}"#;
    let sandbox = home.sandbox(&["--fault-script", script]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 50, 10).expect("durable");
    let status = home.wait_drained();
    let profile = &status["profiles"][0];
    assert_eq!((&profile["delivered"], &profile["dead"]), (&48.into(), &2.into()), "{status}");
    sandbox.wait_billed(48);
    let dead = "revenium_agent_events_dead_lettered_total{reason=\"refused-by-upstream\"}";
    assert_eq!(agent.metric(dead), 2.0);
    agent.stop();
}

#[test]
fn answers_that_were_lost_do_not_bill_twice() {
    let home = Home::new();
    let script = r#"{"steps":[{"fault":{"kind":"reset-stored"},"times":3},{"fault":{"kind":"503"},"times":3},{"fault":{"kind":"504-stored"},"times":3}]}"#;
    let sandbox = home.sandbox(&["--fault-script", script]);
    home.deliver_to(&sandbox, "drain.backoff_max = \"1s\"\n");
    let agent = home.start();
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 20, 10).expect("durable");
    home.wait_drained();
    sandbox.wait_billed(20);
    sandbox.assert_attempts_are_alike();
    assert_eq!(sandbox.count(What::Attempt), 29);
    agent.stop();
}
