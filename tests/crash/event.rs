//! What the producers send, made from a number alone, so that no book has to keep it.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::call;
use crate::dice::Dice;

/// How a producer's events are told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// By a hello and numbers; acknowledged together.
    Numbered(Uuid),
    /// By the `transactionId` in each; the same bytes are sent again.
    Transaction,
    /// By an Idempotency-Key, on requests to the relay.
    Key,
    /// By an emitter's numbers, in an application that is killed, too; a `transactionId` for the oracle.
    Emitted,
    /// By the id of a message: it is a call that somebody metered.
    Called,
    /// Not at all; never sent again.
    None,
}

/// The events of one producer.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) identity: Identity,
    /// As the account that the stand-in knows by its key.
    pub(crate) profile: &'static str,
    pub(crate) seed: u64,
    /// Of what each event is filled with, in bytes; 0: what chance gives.
    pub(crate) filler_bytes: usize,
}

/// One event as it is sent, but for its number.
pub(crate) struct Event {
    pub(crate) json: String,
    pub(crate) path: &'static str,
    pub(crate) transaction: Option<String>,
}

/// Members that the agent acts on or completes an event with. All others reach the upstream as
/// they were sent, and no other is added.
const ROUTING: [&str; 2] = ["kind", "profile"];
const COMPLETED: [&str; 10] = [
    "transactionId",
    "totalTokenCount",
    "costType",
    "isStreamed",
    "stopReason",
    "requestTime",
    "completionStartTime",
    "responseTime",
    "requestDuration",
    "timestamp",
];

/// What the event of a call has besides: who metered it, and what only who did can know.
const METERED: [&str; 2] = ["middlewareSource", "timeToFirstToken"];

impl Source {
    /// What tells the event from all others of a run. Revenium doesn't know the member.
    pub(crate) fn marker(&self, n: u64) -> String {
        format!("{}-{n}", self.name)
    }

    /// The event with this number; of a call, what has to be in it.
    pub(crate) fn event(&self, n: u64) -> Event {
        if self.identity == Identity::Called {
            let marker = self.marker(n);
            let (json, transaction) = (call::billed(&marker, n), Some(call::message_id(&marker)));
            return Event { json, path: "/meter/v2/ai/completions", transaction };
        }
        let mut dice = Dice::new(self.seed ^ n.wrapping_mul(0xD1B5_4A32_D192_ED03)).fork();
        let marker = self.marker(n);
        let has_transaction = match self.identity {
            Identity::Numbered(_) | Identity::Key => n.is_multiple_of(2),
            Identity::Transaction | Identity::Emitted => true,
            Identity::None | Identity::Called => false,
        };
        let (path, kind, what) = match dice.between(0..=9) {
            0 => ("/meter/v2/tool/events", "tool", r#""toolId":"search""#.to_owned()),
            1 => ("/meter/v2/events", "generic", format!(r#""payload":{{"calls":{}}}"#, dice.throw())),
            _ => ("/meter/v2/ai/completions", "completion", completion(&mut dice)),
        };
        let transaction = has_transaction.then(|| match kind {
            "tool" => Uuid::new_v5(&Uuid::NAMESPACE_OID, marker.as_bytes()).to_string(),
            _ => format!("msg_{marker}"),
        });
        let mut json = format!(r#"{{"marker":"{marker}",{what}"#);
        // A request's path says it.
        let is_request = self.identity == Identity::Key;
        if kind != "completion" && !is_request {
            json.push_str(&format!(r#","kind":"{kind}""#));
        }
        if self.profile != "default" && !is_request && !matches!(self.identity, Identity::Numbered(_)) {
            json.push_str(&format!(r#","profile":"{}""#, self.profile));
        }
        if let Some(transaction) = &transaction {
            json.push_str(&format!(r#","transactionId":"{transaction}""#));
        }
        match self.filler_bytes {
            0 => json.push_str(&filler(&mut dice)),
            bytes => json.push_str(&bulk(&mut dice, bytes)),
        }
        json.push('}');
        Event { json, path, transaction }
    }

    /// The line, with its number at the start or at the end.
    pub(crate) fn write_line(&self, n: u64, out: &mut Vec<u8>) {
        let json = self.event(n).json;
        let line = match self.identity {
            Identity::Numbered(_) if n.is_multiple_of(3) => {
                format!("{},\"n\":{n}}}", &json[..json.len() - 1])
            }
            Identity::Numbered(_) => format!("{{\"n\":{n},{}", &json[1..]),
            _ => json,
        };
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}

fn completion(dice: &mut Dice) -> String {
    // Numbers that a trip through f64 would change, now and then.
    let input = if dice.one_in(20) { (1 << 53) + 1 } else { dice.between(0..=100_000) };
    let mut text = format!(
        r#""model":"claude-sonnet-4","provider":"Anthropic","inputTokenCount":{input},"outputTokenCount":{}"#,
        dice.between(0..=5_000)
    );
    // Without times, the agent has to mint some, and to mint them once.
    if dice.one_in(2) {
        text.push_str(r#","requestTime":"2026-11-23T07:44:07Z","responseTime":"2026-11-23T07:44:08.250Z""#);
    }
    text
}

/// Nothing, mostly; some text that doesn't compress well; seldom, more than a group takes at once.
fn filler(dice: &mut Dice) -> String {
    let bytes_max = match dice.between(0..=999) {
        0 => 400_000,
        1..=40 => 20_000,
        _ => return String::new(),
    };
    let bytes = usize::try_from(dice.between(1..=bytes_max)).expect("is small");
    let mut text = String::with_capacity(bytes + 32);
    text.push_str(r#","filler":""#);
    while text.len() < bytes {
        text.push_str(&format!("{:x}", dice.throw()));
    }
    text.push('"');
    text
}

/// So much text that compresses by a quarter at most.
fn bulk(dice: &mut Dice, bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes + 32);
    text.push_str(r#","filler":""#);
    while text.len() < bytes {
        text.extend(dice.throw().to_le_bytes().map(|byte| char::from(LETTERS[usize::from(byte % 64)])));
    }
    text.push('"');
    text
}

type Members<'a> = BTreeMap<&'a str, &'a RawValue>;

/// The marker of a delivered body; that of a call is in its message's id.
pub(crate) fn marker_of(body: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_str(body).ok()?;
    let text = |name| serde_json::from_str::<String>(members.get(name)?.get()).ok();
    text("marker").or_else(|| Some(text("transactionId")?.strip_prefix("msg_")?.to_owned()))
}

/// Why `body` is not what became of `sent`, if it isn't.
pub(crate) fn difference(sent: &str, body: &str) -> Option<String> {
    let parse = |text| serde_json::from_str::<Members<'_>>(text);
    let (Ok(sent), Ok(body)) = (parse(sent), parse(body)) else {
        return Some("it is no object, or has a member twice".to_owned());
    };
    for (name, value) in &sent {
        let delivered = body.get(name).map(|value| value.get());
        if !ROUTING.contains(name) && delivered != Some(value.get()) {
            return Some(format!("{name} is {delivered:?}, and was {}", value.get()));
        }
    }
    let is_call = !sent.contains_key("marker");
    let may_be_added = |name| COMPLETED.contains(name) || is_call && METERED.contains(name);
    let added = body.keys().find(|name| !sent.contains_key(*name) && !may_be_added(name));
    added.map(|name| format!("{name} was not sent"))
}
