//! Recorded answers of the provider: each makes the events that the recording itself states.
//!
//! The recordings are beside the checkout and not part of it. Where they are not, there is nothing to
//! compare with, and these tests say so.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use revenium_anthropic::{By, Call, Ended, Request, Response, Route};
use revenium_event::Frozen;
use serde_json::{Value, json};

use crate::support::*;

/// One recorded exchange.
#[derive(Debug, Clone)]
struct Exchange {
    file: String,
    path: String,
    request: Value,
    status: u16,
    body: String,
}

impl Exchange {
    fn is_stream(&self) -> bool {
        self.body.starts_with("event:")
    }

    /// What our reader makes of it, cut into chunks at these places.
    fn read(&self, cuts: &[usize]) -> Response {
        if !self.is_stream() {
            return Response::read(self.status, self.body.as_bytes());
        }
        let mut places = vec![0];
        places.extend(cuts);
        places.push(self.body.len());
        places.sort_unstable();
        streamed(places.windows(2).map(|pair| &self.body.as_bytes()[pair[0]..pair[1]]), By::Server)
    }

    /// The data of its events.
    fn events(&self) -> impl Iterator<Item = Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data:"));
        data.map(|data| serde_json::from_str(data).expect("is JSON"))
    }

    /// What it states, read in the plainest way there is.
    fn stated(&self) -> Value {
        if !self.is_stream() {
            let body: Value = serde_json::from_str(&self.body).expect("is JSON");
            return json!({"id": body["id"], "model": body["model"], "stop_reason": body["stop_reason"], "usage": body["usage"], "ended": "Complete"});
        }
        let mut stated = json!({"ended": "Complete"});
        for event in self.events() {
            let message = match event["type"].as_str() {
                Some("message_start") => &event["message"],
                Some("message_delta") => &event["delta"],
                _ => continue,
            };
            for name in ["id", "model", "stop_reason"] {
                if !message[name].is_null() {
                    stated[name] = message[name].clone();
                }
            }
            let usage = event.get("usage").unwrap_or(&message["usage"]).as_object().expect("a usage");
            usage
                .iter()
                .filter(|(_, value)| !value.is_null())
                .for_each(|(name, value)| stated["usage"][name] = value.clone());
        }
        stated
    }

    fn frozen(&self, response: Response) -> Vec<Frozen> {
        let request =
            Request { model: self.request["model"].as_str().map(str::to_owned), ..Request::default() };
        frozen(
            &Call {
                request,
                response,
                route: Some(self.path.clone()),
                is_streamed: self.is_stream(),
                ..Call::default()
            }
            .to_line(),
        )
    }
}

/// Every exchange of every recording. Empty only if there is no folder of them.
fn exchanges() -> Vec<Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/cassettes");
    let Ok(entries) = fs::read_dir(&folder) else {
        eprintln!("not compared: there are no recordings at {}", folder.display());
        return Vec::new();
    };
    let files = entries.map(|entry| entry.expect("an entry").path());
    let mut all = Vec::new();
    for path in files.filter(|path| path.extension().is_some_and(|extension| extension == "json")) {
        let recording: Value =
            serde_json::from_slice(&fs::read(&path).expect("can be read")).expect("is JSON");
        for exchange in recording["interactions"].as_array().expect("a list") {
            all.push(Exchange {
                file: path.file_name().expect("a name").display().to_string(),
                path: exchange["path"].as_str().expect("a path").to_owned(),
                request: exchange["request"].clone(),
                status: exchange["status"]
                    .as_u64()
                    .and_then(|status| status.try_into().ok())
                    .expect("a status"),
                body: exchange["body"].as_str().expect("a body").to_owned(),
            });
        }
    }
    assert!(all.len() > 40, "only {} exchanges", all.len());
    all
}

/// Those that are metered.
fn answers() -> Vec<Exchange> {
    exchanges().into_iter().filter(|exchange| Route::of(&exchange.path).is_metered()).collect()
}

#[test]
fn what_is_not_a_message_is_not_metered() {
    for exchange in exchanges() {
        let is_message = exchange.path.split('?').next() == Some("/v1/messages");
        assert_eq!(Route::of(&exchange.path).is_metered(), is_message, "{}", exchange.path);
    }
}

#[test]
fn every_recorded_answer_gives_the_usage_that_it_states() {
    for exchange in answers() {
        let response = exchange.read(&[]);
        if exchange.status >= 400 {
            let Ended::Error(failure) = &response.ended else { panic!("{}", exchange.file) };
            assert_eq!(failure.status, Some(exchange.status));
            assert!(failure.kind.is_some(), "{}", exchange.file);
            continue;
        }
        assert_eq!(said(&response), exchange.stated(), "{}", exchange.file);
        assert_eq!(response.time_to_first_token_ms.is_some(), exchange.is_stream(), "{}", exchange.file);
    }
}

#[test]
fn every_recorded_answer_byte_by_byte_gives_the_same() {
    for exchange in answers().into_iter().filter(Exchange::is_stream) {
        let bytes: Vec<usize> = (0..exchange.body.len()).collect();
        assert_eq!(said(&exchange.read(&bytes)), exchange.stated(), "{}", exchange.file);
    }
}

/// The count of a member of a usage, 0 if it is not stated.
fn count(usage: &Value, path: &str) -> u64 {
    usage.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

fn assert_amounts(event: &Value, usage: &Value, file: &str) {
    let amounts = [
        ("inputTokenCount", "/input_tokens"),
        ("outputTokenCount", "/output_tokens"),
        ("cacheReadTokenCount", "/cache_read_input_tokens"),
        ("cacheCreationTokenCount", "/cache_creation_input_tokens"),
        ("cacheCreation5mTokenCount", "/cache_creation/ephemeral_5m_input_tokens"),
        ("cacheCreation1hTokenCount", "/cache_creation/ephemeral_1h_input_tokens"),
        ("reasoningTokenCount", "/output_tokens_details/thinking_tokens"),
    ];
    for (field, path) in amounts {
        assert_eq!(count(event, &format!("/{field}")), count(usage, path), "{file}: {field}");
    }
    assert_eq!(
        event["totalTokenCount"],
        count(usage, "/input_tokens") + count(usage, "/output_tokens"),
        "{file}"
    );
}

#[test]
fn every_recorded_answer_becomes_the_events_that_it_is_billed_by() {
    let mut passes = 0;
    for exchange in answers() {
        let frozen = exchange.frozen(exchange.read(&[]));
        let events: Vec<Value> = frozen.iter().map(json).collect();
        assert!(frozen.iter().all(|event| event.warnings.is_empty()), "{}: {frozen:?}", exchange.file);
        assert_eq!(events[0]["provider"], "ANTHROPIC");
        if exchange.status >= 400 {
            let names = ["stopReason", "errorCode", "totalTokenCount", "model"];
            assert_eq!(
                members(&events[0], &names),
                [json!("ERROR"), json!(exchange.status), json!(0), exchange.request["model"].clone()]
            );
            continue;
        }
        let usage = &exchange.stated()["usage"];
        assert_amounts(&events[0], usage, &exchange.file);
        assert_eq!(events[0]["transactionId"], exchange.stated()["id"]);
        assert_eq!(events[0].get("actualServiceTier"), usage.get("service_tier"));
        assert_eq!(
            events[0]["attributes"].get("inference_geo"),
            usage.get("inference_geo"),
            "{}",
            exchange.file
        );
        for name in ["web_search_requests", "web_fetch_requests"] {
            assert_eq!(
                events[0]["attributes"].get(name),
                usage["server_tool_use"].get(name),
                "{}",
                exchange.file
            );
        }
        let billed: Vec<&Value> = usage["iterations"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|pass| {
                ["advisor_message", "compaction"].contains(&pass["type"].as_str().unwrap_or_default())
            })
            .collect();
        assert_eq!(events.len(), 1 + billed.len(), "{}", exchange.file);
        for (event, pass) in events[1..].iter().zip(billed) {
            assert_amounts(event, pass, &exchange.file);
            passes += 1;
        }
    }
    assert!(passes >= 3 || answers().is_empty(), "only {passes} passes");
}

static STREAMS: LazyLock<Vec<Exchange>> =
    LazyLock::new(|| answers().into_iter().filter(Exchange::is_stream).collect());

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_recorded_stream_says_the_same_in_any_split(which: prop::sample::Index, cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        if !STREAMS.is_empty() {
            let stream = which.get(&STREAMS);
            let cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.body.len())).collect();
            prop_assert_eq!(said(&stream.read(&cuts)), stream.stated(), "{}", stream.file);
        }
    }
}
