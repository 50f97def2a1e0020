//! One marked event without tokens, sent to Revenium at once, and its answer in a sentence.
//!
//! Not by way of a log: it is worth nothing, and the answer is what it is for. It is a record like any other
//! in all else, with a key of its own.

use std::time::Duration;

use revenium_event::{Identity, Minted, freeze};
use revenium_store::{Lane, Record, Seq};
use serde::Deserialize;
use uuid::Uuid;

use crate::admin::now_ms;
use crate::commands::upstream;
use crate::config::{Config, ProfileConfig};
use crate::exit::{Exit, Failure, OrExit};
use crate::upstream::{Block, Outcome, Refusal, Reply, Retry, SendError, Transport};

/// What marks it, and what it costs.
const EVENT: &[u8] = br#"{"model":"revenium-agent-setup-test","provider":"revenium-agent","inputTokenCount":0,"outputTokenCount":0,"totalTokenCount":0,"taskType":"setup-test","agent":"revenium-agent"}"#;

/// How long Revenium may take; somebody waits at a terminal.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What came of it.
pub(super) struct Trial {
    pub(super) is_accepted: bool,
    /// For a person.
    pub(super) words: String,
}

/// Sends the event as `profile`.
pub(super) fn send(config: &Config, profile: &ProfileConfig) -> Result<Trial, Failure> {
    let Some(source) = &profile.key else {
        return Ok(Trial { is_accepted: false, words: "there is no key to send it with".to_owned() });
    };
    let key = source.read().or_exit(Exit::Config, "the key cannot be used")?;
    let key = upstream::api_key(&key);
    let key = key.ok_or_else(|| Failure::new(Exit::Bug, "the key was checked and cannot be sent"))?;
    let instance = Uuid::new_v4().simple().to_string();
    let client = upstream::client(std::slice::from_ref(profile), &config.drain, &instance, false)?;
    let record = record(profile)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let answer = runtime.or_exit(Exit::Io, "cannot start the runtime")?.block_on(async {
        let late = || SendError::Unheard(format!("no answer within {} s", ANSWER_MAX.as_secs()));
        tokio::time::timeout(ANSWER_MAX, client.send(&record, &key)).await.unwrap_or_else(|_| Err(late()))
    });
    let outcome = Outcome::of(answer.as_ref(), now_ms());
    let words = format!("{} {}", profile.url, sentence(&outcome, answer.as_ref().ok()));
    Ok(Trial { is_accepted: outcome == Outcome::Delivered, words })
}

fn record(profile: &ProfileConfig) -> Result<Record, Failure> {
    let minted = Minted { now_ms: now_ms(), random: Uuid::new_v4().into_bytes() };
    let frozen = freeze(EVENT, &Identity::Body, &minted);
    let frozen =
        frozen.map_err(|refusal| Failure::new(Exit::Bug, format_args!("the test event: {refusal}")))?;
    Ok(Record {
        seq: Seq(0),
        lane: Lane { profile: profile.name.as_str().into(), route: frozen.kind.code() },
        key: frozen.idempotency_key.into(),
        body: frozen.body.into(),
        received_at_ms: minted.now_ms,
        attempts: 0,
        first_attempt_at_ms: 0,
    })
}

/// What the answer says, after the upstream's URL.
fn sentence(outcome: &Outcome, reply: Option<&Reply>) -> String {
    match outcome {
        Outcome::Delivered => match reply {
            Some(reply) => format!("accepted it ({}{})", reply.status, id(&reply.body)),
            None => "accepted it".to_owned(),
        },
        Outcome::Retry(Retry { status: 0, words, .. }) => format!("cannot be reached: {words}"),
        Outcome::Retry(Retry { status, words, .. }) => format!("cannot take it now ({status}): {words}"),
        Outcome::Refused(Refusal { status, words, .. }) => format!("refused the event ({status}): {words}"),
        Outcome::Blocked(Block { status: status @ (401 | 403), words }) => {
            format!("refused the key ({status}): {words}")
        }
        Outcome::Blocked(Block { status, words }) => format!("did not take it ({status}): {words}"),
    }
}

/// `, id …`, if Revenium says one.
fn id(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Created {
        id: String,
    }
    match serde_json::from_slice(body) {
        Ok(Created { id }) => format!(", id {}", crate::commands::plain(&id)),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_sentence() {
        let heard = |status, body: &'static str| {
            Ok(Reply { status, body: body.into(), body_is_whole: true, ..Reply::default() })
        };
        for (answer, expected) in [
            (heard(201, r#"{"id":"7f","resourceType":"metering"}"#), "accepted it (201, id 7f)"),
            (heard(200, ""), "accepted it (200)"),
            (
                heard(401, r#"{"message":"unknown API key"}"#),
                "refused the key (401): the API key is not accepted; unknown API key",
            ),
            (heard(400, r#"{"message":"no model"}"#), "refused the event (400): no model"),
            (heard(503, "busy"), "cannot take it now (503): busy"),
            (heard(404, ""), "did not take it (404): no such route: is the URL right?"),
            (Err(SendError::Unheard("refused".to_owned())), "cannot be reached: refused"),
        ] {
            let answer: Result<Reply, SendError> = answer;
            let outcome = Outcome::of(answer.as_ref(), 0);
            assert_eq!(sentence(&outcome, answer.as_ref().ok()), expected);
        }
    }
}
