//! The relay of the real binary: what its clients are told, and what is billed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use revenium_event::Kind;
use serde_json::Value;

use crate::support::{Agent, Home, Http, KEY, OTHER_KEY, assert_no_secret, completion};

const RELAY: &str = "relay.listen = \"127.0.0.1:0\"\n";
const COMPLETIONS: &str = "/meter/v2/ai/completions";

fn client(agent: &Agent) -> Http {
    Http::connect(agent.ready["relay"].as_str().expect("is on"))
}

#[test]
fn what_official_sdks_were_recorded_to_send_is_billed_byte_for_byte() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut client = client(&agent);
    let mut sent = BTreeMap::new();
    for entry in
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/event/fixtures")).expect("listed")
    {
        let path = entry.expect("listed").path();
        let key = path.file_stem().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
        // One recording each of what was sent again; the stand-in would take the others for repeats.
        let body = fs::read_to_string(&path).expect("read").replace("msg_01FAKE", &format!("msg_{key}_"));
        let answer = client.post(COMPLETIONS, &[("x-api-key", KEY), ("Idempotency-Key", &key)], &body);
        assert_eq!((answer.status, &answer.body["id"]), (201, &Value::from(key.as_str())));
        sent.insert(key, body);
    }
    assert!(sent.len() >= 15, "only {} recordings", sent.len());
    assert_eq!(sandbox.wait_billed(sent.len()), sent);
    agent.stop();
}

#[test]
fn the_same_key_and_bytes_are_stored_once_and_other_bytes_are_a_mismatch() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let headers = [("x-api-key", KEY), ("Idempotency-Key", "order-42")];
    let first = client(&agent).post(COMPLETIONS, &headers, &completion("a"));
    assert_eq!(first.status, 201, "{first:?}");
    for _ in 0..3 {
        assert_eq!(client(&agent).post(COMPLETIONS, &headers, &completion("a")).status, 201);
    }
    let other = client(&agent).post(COMPLETIONS, &headers, &completion("b"));
    assert_eq!((other.status, &other.body["errors"][0]["code"]), (409, &"idempotency_key_mismatch".into()));
    // So it is after a restart.
    agent.kill();
    let agent = home.start();
    assert_eq!(client(&agent).post(COMPLETIONS, &headers, &completion("a")).status, 201);
    assert_eq!(sandbox.wait_billed(1).keys().collect::<Vec<_>>(), ["order-42"]);
    home.wait_status("one is delivered, and the mismatch is a dead letter", |status| {
        (&status["profiles"][0]["delivered"], &status["profiles"][0]["dead"]) == (&1.into(), &1.into())
    });
    agent.stop();
}

#[test]
fn each_route_is_billed_as_what_it_meters() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut client = client(&agent);
    let media = r#""model":"m","provider":"x","requestDuration":1,"requestTime":"2026-11-23T10:00:00Z","responseTime":"2026-11-23T10:00:03Z""#;
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        let members = match kind {
            Kind::Completion => completion("c").trim_matches(['{', '}']).to_owned(),
            Kind::Image => format!(r#"{media},"requestedImageCount":1,"actualImageCount":1"#),
            Kind::Audio | Kind::Video => format!(r#"{media},"durationSeconds":3"#),
            Kind::Tool => r#""toolId":"search","timestamp":"2026-11-23T10:00:00Z""#.to_owned(),
            Kind::Generic => r#""payload":{"calls":1}"#.to_owned(),
            Kind::ApiRequest => r#""method":"GET","resource":"/x""#.to_owned(),
            Kind::ApiResponse => r#""responseCode":200"#.to_owned(),
        };
        let transaction = format!("00000000-0000-4000-8000-{number:012}");
        let body = format!(r#"{{"transactionId":"{transaction}",{members}}}"#);
        let answer = client.post(kind.route(), &[("x-api-key", KEY)], &body);
        assert_eq!((answer.status, &answer.body["label"]), (201, &kind.name().into()), "{answer:?}");
    }
    sandbox.wait_billed(8);
    let mut paths: Vec<String> = sandbox.entries().into_iter().map(|entry| entry.path.into_owned()).collect();
    paths.sort();
    paths.dedup();
    let mut routes = Kind::ALL.map(Kind::route);
    routes.sort_unstable();
    assert_eq!(paths, routes);
    agent.stop();
}

#[test]
fn an_unknown_key_s_events_wait_apart_and_are_billed_once_it_is_known_whose_they_are() {
    let home = Home::new();
    let sandbox = home.sandbox(&["--key", &format!("{OTHER_KEY}=other")]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut http = client(&agent);
    assert_eq!(http.post(COMPLETIONS, &[("x-api-key", KEY)], &completion("known")).status, 201);
    for id in ["a", "b"] {
        assert_eq!(http.post(COMPLETIONS, &[("x-api-key", OTHER_KEY)], &completion(id)).status, 201);
    }
    sandbox.wait_billed(1);
    let status = home.wait_status("its events wait", |status| {
        status["profiles"].as_array().is_some_and(|all| all.iter().any(|profile| profile["waiting"] == 2))
    });
    let stranger =
        status["profiles"].as_array().expect("profiles").iter().find(|profile| profile["waiting"] == 2);
    let name = stranger.and_then(|profile| profile["name"].as_str()).expect("has a name").to_owned();
    assert!(name.starts_with("key-"), "{name}");
    assert_eq!(status["health"], "degraded", "somebody is told");
    assert_no_secret(&[&status.to_string(), &agent.log(), &agent.get("/metrics").1]);
    agent.kill();
    // It is claimed by giving the profile of that name its key.
    home.deliver_to(
        &sandbox,
        &format!(
            "{RELAY}profiles.{name}.url = \"{}\"\nprofiles.{name}.api_key = \"{OTHER_KEY}\"\n",
            sandbox.url()
        ),
    );
    let agent = home.start();
    assert_eq!(client(&agent).post(COMPLETIONS, &[("x-api-key", OTHER_KEY)], &completion("c")).status, 201);
    sandbox.wait_billed(4);
    let accounts = sandbox.entries().into_iter().filter(|entry| entry.account.as_deref() == Some("other"));
    assert_eq!(accounts.map(|entry| entry.key).collect::<std::collections::BTreeSet<_>>().len(), 3);
    agent.stop();
}

#[test]
fn whose_an_event_is_is_never_guessed() {
    let home = Home::new();
    home.configure(&format!("{RELAY}profiles.b.api_key = \"{OTHER_KEY}\"\n"));
    let agent = home.start();
    let bearer = format!("Bearer {OTHER_KEY}");
    for (headers, status) in [
        (&[("x-api-key", KEY), ("x-api-key", OTHER_KEY)][..], 401),
        (&[("x-api-key", KEY), ("x-api-key", KEY)], 201),
        (&[("Authorization", &*bearer)], 201),
        (&[("Authorization", &*bearer), ("Authorization", "Bearer x")], 401),
        (&[("x-api-key", KEY), ("Authorization", &*bearer)], 201),
        (&[("x-api-key", KEY), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")], 400),
    ] {
        let answer = client(&agent).post(COMPLETIONS, headers, &completion("x"));
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    let status = home.wait_status("all are known of", |status| {
        status["profiles"].as_array().is_some_and(|all| all.iter().any(|one| one["waiting"] == 2))
    });
    let of = |name: &str| {
        let all = status["profiles"].as_array().expect("profiles");
        all.iter().find(|one| one["name"] == name).map(|one| (one["waiting"].clone(), one["dead"].clone()))
    };
    assert_eq!(of("default"), Some((2.into(), 1.into())));
    assert_eq!(of("b"), Some((1.into(), 0.into())), "whose key the bearer's was");
    agent.stop();
}

#[test]
fn a_strict_relay_takes_nothing_without_a_key_that_a_profile_has() {
    let home = Home::new();
    home.configure(&format!("{RELAY}relay.strict = true\n"));
    let agent = home.start();
    let mut client = client(&agent);
    for headers in [&[][..], &[("x-api-key", OTHER_KEY)]] {
        let answer = client.post(COMPLETIONS, headers, &completion("x"));
        assert_eq!((answer.status, &answer.body["errors"][0]["code"]), (401, &"unauthorized".into()));
    }
    assert_eq!(client.post(COMPLETIONS, &[("x-api-key", KEY)], &completion("x")).status, 201);
    agent.stop();
}

#[test]
fn a_hostile_page_s_request_and_our_own_are_turned_away() {
    let home = Home::new();
    home.write("token", "0123456789abcdef0123456789abcdef\n");
    home.configure(&format!("{RELAY}relay.token_file = \"token\"\nrelay.hosts = [\"relay.internal\"]\n"));
    let agent = home.start();
    let path = format!("/token/0123456789abcdef0123456789abcdef{COMPLETIONS}");
    let instance = home.status()["instance"].as_str().expect("is told").to_owned();
    for (path, header, status) in [
        (&*path, ("Origin", "https://evil.example"), 403),
        (&*path, ("Sec-Fetch-Site", "cross-site"), 403),
        (&*path, ("x-revenium-agent", &*instance), 508),
        (&*path, ("x-revenium-agent", "another"), 201),
        (COMPLETIONS, ("x-revenium-agent-token", "wrong"), 401),
        (COMPLETIONS, ("x-revenium-agent-token", "0123456789abcdef0123456789abcdef"), 201),
    ] {
        let answer = client(&agent).post(path, &[header], &completion("x"));
        assert_eq!(answer.status, status, "{path} {header:?}: {answer:?}");
    }
    assert_no_secret(&[&agent.log()]);
    agent.stop();
}

#[test]
fn beyond_loopback_a_token_is_asked_for() {
    let home = Home::new();
    home.configure("relay.listen = \"0.0.0.0:0\"\n");
    let ended = home.run(&["check"]);
    assert_eq!(ended.code, Some(78));
    assert!(
        ended.stderr.contains("relay.listen: 0.0.0.0:0 can be reached from other machines"),
        "{}",
        ended.stderr
    );
    home.write("token", "short");
    home.configure("relay.listen = \"0.0.0.0:0\"\nrelay.token_file = \"token\"\n");
    let ended = home.run(&["check"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("relay.token_file: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains("short"), "{}", ended.stderr);
}

#[test]
fn a_profile_that_sends_to_the_relay_itself_is_refused_at_start() {
    let home = Home::new();
    let address = crate::support::unused_address();
    home.configure(&format!("relay.listen = \"{address}\"\nprofiles.default.url = \"http://{address}\"\n"));
    let ended = home.run(&["run"]);
    assert_eq!(ended.code, Some(78));
    assert!(ended.stderr.contains("is this agent's own relay.listen"), "{}", ended.stderr);
}

#[test]
fn what_is_refused_is_told_in_revenium_s_words_and_kept() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let mut client = client(&agent);
    let lacking = r#"{"model":"m","provider":"x","inputTokenCount":1}"#;
    let answer = client.post(COMPLETIONS, &[("x-api-key", KEY)], lacking);
    assert_eq!((answer.status, &answer.body["path"]), (400, &COMPLETIONS.into()));
    assert!(answer.body["details"]["outputTokenCount"].as_str().is_some_and(|text| text.contains("missing")));
    let answer = client.post("/meter/v2/ai/poems", &[("x-api-key", KEY)], &completion("x"));
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(client.post(COMPLETIONS, &[("x-api-key", KEY)], "{").status, 400);
    assert_eq!(client.post(COMPLETIONS, &[("x-api-key", KEY)], &completion("good")).status, 201);
    sandbox.wait_billed(1);
    home.wait_status("two are kept", |status| status["profiles"][0]["dead"] == 2);
    agent.stop();
}

#[test]
fn a_letter_of_another_route_than_completions_is_mended_as_what_its_path_said() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    let answer = client(&agent).post(Kind::Tool.route(), &[("x-api-key", KEY)], r#"{"durationMs":5}"#);
    assert_eq!(answer.status, 400, "{answer:?}");
    let listed = home.run(&["dlq", "list", "--json"]);
    let letter: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let seq = letter["seq"].as_u64().unwrap_or_else(|| panic!("{}", listed.stdout)).to_string();
    home.write("mended", r#"{"durationMs":5,"toolId":"search"}"#);
    let ended = home.run(&["dlq", "edit", &seq, "--file", "mended"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let billed = sandbox.wait_billed(1);
    assert!(billed.values().all(|body| body.contains(r#""toolId":"search""#)), "{billed:?}");
    assert!(sandbox.entries().iter().all(|entry| entry.path == Kind::Tool.route()));
    agent.stop();
}

#[test]
fn a_claimed_key_s_events_are_billed_to_the_profile_that_it_was_claimed_for() {
    let home = Home::new();
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, RELAY);
    let agent = home.start();
    for id in ["a", "b"] {
        let answer = client(&agent).post(COMPLETIONS, &[("x-api-key", OTHER_KEY)], &completion(id));
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let listed = home.run(&["profile", "list", "--json"]).stdout;
    let at = listed.find("\"key-").expect("the unknown key's profile is listed");
    let name = listed[at + 1..].split('"').next().expect("a name").to_owned();
    assert_eq!(sandbox.billed().len(), 0, "nobody has said whose they are");
    let ended = home.run(&["profile", "claim", &name, "--as", "default"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    sandbox.wait_billed(2);
    // What comes later with that key is claimed as well, after a crash too.
    agent.kill();
    let agent = home.start();
    assert_eq!(client(&agent).post(COMPLETIONS, &[("x-api-key", OTHER_KEY)], &completion("c")).status, 201);
    sandbox.wait_billed(3);
    assert_eq!(home.wait_drained()["health"], "ok");
    agent.stop();
}
