//! `flush`: everything that was durable is out, or why it is not.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Home, Producer, completion, unused_address};

#[test]
fn a_flush_returns_as_soon_as_all_is_delivered_or_dead() {
    let home = Home::new();
    let script = r#"{"steps":[{"fault":{"kind":"422"},"times":1}]}"#;
    let sandbox = home.sandbox(&["--fault-script", script]);
    home.deliver_to(&sandbox, "");
    let agent = home.start();
    let nothing = home.run(&["flush"]);
    assert_eq!((nothing.code, &*nothing.stdout), (Some(0), "flushed: everything that was durable is out\n"));
    let mut producer = Producer::new(1);
    producer.run(&home.socket(), 300, 50).expect("durable");
    let ended = home.run(&["flush", "--deadline", "60s"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let profile = &home.status()["profiles"][0];
    assert_eq!(
        (&profile["waiting"], &profile["delivered"], &profile["dead"]),
        (&0.into(), &299.into(), &1.into())
    );
    sandbox.wait_billed(299);
    agent.stop();
    let no_agent = home.run(&["flush"]);
    assert_eq!(no_agent.code, Some(2), "{}", no_agent.stderr);
    assert_eq!(home.run(&["flush", "--deadline", "soon"]).code, Some(2));
}

#[test]
fn a_flush_in_an_outage_waits_for_its_end() {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "drain.backoff_max = \"1s\"\n");
    let agent = home.start();
    Producer::new(1).run(&home.socket(), 20, 20).expect("durable");
    let late = home.run(&["flush", "--deadline", "300ms"]);
    assert_eq!(
        (late.code, &*late.stdout),
        (Some(1), "not flushed within the deadline: 20 waiting (20 completion of default)\n"),
        "{}",
        late.stderr
    );
    let mut flush = home.command(&["flush", "--deadline", "60s", "--config", "config.toml"]);
    let flush = flush.stdout(Stdio::piped()).spawn().expect("starts");
    let sandbox = home.sandbox_on(&address, &[]);
    let ended = flush.wait_with_output().expect("ends");
    assert_eq!(ended.status.code(), Some(0));
    sandbox.wait_billed(20);
    agent.stop();
}

#[test]
fn a_paused_profile_is_named_at_once_and_waited_for() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "profiles.keyless.url = \"https://127.0.0.1:9\"\n");
    let agent = home.start();
    let mut line = crate::support::Line::connect(&home.socket());
    assert_eq!(line.ask(&completion("m").replace('{', "{\"profile\":\"keyless\","))["ok"], true);
    assert_eq!(line.ask(&completion("m"))["ok"], true);
    let mut flush = home.command(&["flush", "--deadline", "1h", "--config", "config.toml"]);
    let mut flush = flush.stderr(Stdio::piped()).spawn().expect("starts");
    let mut said = String::new();
    BufReader::new(flush.stderr.take().expect("piped")).read_line(&mut said).expect("read");
    assert!(said.starts_with("paused: keyless: everything: "), "{said}");
    assert!(flush.try_wait().expect("asked").is_none(), "it waits");
    flush.kill().expect("killed");
    flush.wait().expect("ended");
    sandbox.wait_billed(1);
    home.wait_status("it is settled", |status| status["profiles"][0]["waiting"] == 0);
    let late = home.run(&["flush", "--deadline", "100ms"]);
    assert_eq!(late.code, Some(1));
    assert!(late.stdout.contains("1 waiting (1 completion of keyless)"), "{}", late.stdout);
    assert!(late.stderr.contains("paused: keyless: everything: "), "{}", late.stderr);
    agent.stop();
}
