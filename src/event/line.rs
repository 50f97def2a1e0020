//! The socket's line protocol, pure: bytes to lines, answers to bytes.
//!
//! A line is one JSON object. `{"hello":{"v":1,"producer":…,"profile":…}}` may come first; anything
//! else is an event, with its number in `"n"` on a connection that said hello, or a [`KeyLine`]. Answers
//! are lines too, in the order of what they answer:
//!
//! | answer | to | says |
//! |---|---|---|
//! | `{"ok":true,"id":"…"}` | an event without a number | it is durable |
//! | `{"ok":true,"upto":7}` | numbered events | all up to this number are durable or were refused |
//! | `{"ok":false,"n":7,"code":"invalid","field":"model","message":"…"}` | any event | it was not taken |
//! | `{"want":"key"}` | a hello with `"key_at_hand":true` | hand the key of its profile over |
//!
//! What an event is, is not looked at here: its bytes go to [`crate::freeze()`] without their `"n"`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use crate::key::{KeyLine, holds_key};
use crate::limits::LINE_BYTES_MAX;
use crate::object::{Object, utf8};
use crate::{Producer, Refusal, RefusalCode, profile_is_valid};

/// The version of the protocol that is spoken here.
pub const VERSION: u64 = 1;

/// One line, as the agent reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line<'a> {
    /// What the connection is.
    Hello(Hello),
    /// A key.
    Key(KeyLine<'a>),
    /// An event.
    Event {
        /// The sender's number for it.
        n: Option<u64>,
        /// The event without `"n"`.
        event: Cow<'a, [u8]>,
    },
}

/// What a connection says of itself. Members that are not known are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// The version it speaks, always [`VERSION`].
    pub v: u64,
    /// Who numbers its events.
    pub producer: Option<Producer>,
    /// The profile of events that name none.
    pub profile: Option<String>,
    /// Whether it has the key of that profile, and hands it over if it is asked to.
    pub key_at_hand: bool,
    /// The base URL that the key is for, if it is not the agent's default.
    pub url: Option<String>,
    /// Whether its calls do not wait for answers: then it is read now and then, which spares it waking the agent for
    /// each event.
    pub is_patient: bool,
}

impl Hello {
    /// Appends it as a line, newline included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let hello = RawHello {
            v: Some(self.v),
            producer: self.producer.map(|producer| Cow::Owned(producer.to_string())),
            profile: self.profile.as_deref().map(Cow::Borrowed),
            key_at_hand: self.key_at_hand,
            url: self.url.as_deref().map(Cow::Borrowed),
            patient: self.is_patient,
        };
        write_line(out, &serde_json::json!({ "hello": hello }));
    }
}

#[derive(Serialize, Deserialize)]
struct RawHello<'a> {
    v: Option<u64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    producer: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    profile: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    key_at_hand: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    patient: bool,
}

/// Reads one line, with or without its newline.
///
/// A line that begins with `{"n":…,` costs no parse: what follows is judged by [`crate::freeze()`].
pub fn parse(line: &[u8]) -> Result<Line<'_>, Refusal> {
    let line = line.trim_ascii();
    if line.len() > LINE_BYTES_MAX {
        let bytes = line.len();
        return Err(Refusal::too_large(format!(
            "the line has {bytes} bytes; at most {LINE_BYTES_MAX} are taken"
        )));
    }
    if let Some((n, rest)) = leading_number(line) {
        let mut event = Vec::with_capacity(rest.len() + 1);
        event.push(b'{');
        event.extend_from_slice(rest);
        return Ok(Line::Event { n: Some(n), event: Cow::Owned(event) });
    }
    // An escaped spelling of `n` or `hello` would pass here; freezing refuses those by name.
    if ![&b"\"n\""[..], b"\"hello\"", b"\"key\""].iter().any(|name| mentions(line, name)) {
        return Ok(Line::Event { n: None, event: Cow::Borrowed(line) });
    }
    let object = Object::read(utf8(line)?)?;
    if let Some(at) = object.find("hello") {
        return parse_hello(&object.members[at].value).map(Line::Hello);
    }
    if let Some(key) = KeyLine::of(&object) {
        return key.map(Line::Key);
    }
    without_number(line, object)
}

/// Splits `{"n":7,…` and `{"n":7}` into 7 and what follows the comma (or the brace).
fn leading_number(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(b"{\"n\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let n = number(std::str::from_utf8(&rest[..digits]).ok()?)?;
    match rest[digits] {
        b',' => Some((n, &rest[digits + 1..])),
        b'}' => Some((n, &rest[digits..])),
        _ => None,
    }
}

/// A number as JSON writes it: digits without leading zeros.
fn number(digits: &str) -> Option<u64> {
    let is_plain =
        digits == "0" || digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok()).flatten()
}

fn mentions(line: &[u8], needle: &[u8]) -> bool {
    line.windows(needle.len()).any(|window| window == needle)
}

fn without_number<'a>(line: &'a [u8], mut object: Object<'a>) -> Result<Line<'a>, Refusal> {
    let Some(at) = object.find("n") else {
        return Ok(Line::Event { n: None, event: Cow::Borrowed(line) });
    };
    let Some(n) = number(&object.members[at].value) else {
        return Err(Refusal::field("n", "n must be a whole number from 0 to 18446744073709551615"));
    };
    object.cut(at);
    if object.find("n").is_some() {
        return Err(Refusal::field("n", "n is given twice; send one number for each event"));
    }
    Ok(Line::Event { n: Some(n), event: Cow::Owned(object.write().into_bytes()) })
}

fn parse_hello(hello: &str) -> Result<Hello, Refusal> {
    let raw: RawHello<'_> = serde_json::from_str(hello).map_err(|error| {
        Refusal::field(
            "hello",
            format!("hello must be like {{\"v\":{VERSION},\"producer\":…,\"profile\":…}}: {error}"),
        )
    })?;
    if raw.v != Some(VERSION) {
        let got = raw.v.map_or_else(|| "none".to_owned(), |v| v.to_string());
        return Err(Refusal::field("hello.v", format!("version {got} is not spoken here; say v {VERSION}")));
    }
    let producer = raw.producer.map(|text| {
        Producer::parse(&text).ok_or_else(|| {
            Refusal::field("hello.producer", "producer must be 32 hexadecimal digits or a UUID")
        })
    });
    let profile = raw.profile.map(|name| {
        profile_is_valid(&name).then(|| name.into_owned()).ok_or_else(|| Refusal::profile("hello.profile"))
    });
    let url = raw.url.map(Cow::into_owned);
    let (producer, profile) = (producer.transpose()?, profile.transpose()?);
    Ok(Hello { v: VERSION, producer, profile, key_at_hand: raw.key_at_hand, url, is_patient: raw.patient })
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The event is durable; `id` is the Idempotency-Key it will be sent under.
    Ok {
        /// The event's Idempotency-Key.
        id: Cow<'a, str>,
    },
    /// Every numbered event up to and including this one is durable, or was refused by name.
    Durable {
        /// The last number that is settled.
        upto: u64,
    },
    /// The agent does not have the key that the hello says is at hand, and takes it.
    WantKey,
    /// The event was not taken.
    Refused {
        /// Its number, if it had one.
        n: Option<u64>,
        /// What to conclude.
        code: Code,
        /// The member at fault.
        field: Option<Cow<'a, str>>,
        /// One sentence for a person.
        message: Cow<'a, str>,
    },
}

/// What the sender of an event that was not taken should conclude.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The event is wrong; sending it again is no use.
    Invalid,
    /// The event is larger than a limit; sending it again is no use.
    TooLarge,
    /// The number or key was used before for other bytes; those count.
    Conflict,
    /// There is no room now; send it again later.
    Full,
    /// The agent is going away; send it to the next one.
    Stopping,
    /// The agent's disk refused the write; send it again later.
    Disk,
    /// This user may not send here. Said once, before the connection is closed.
    Denied,
    /// There are too many connections; come back later. Said once, before the connection is closed.
    Busy,
}

impl From<RefusalCode> for Code {
    fn from(code: RefusalCode) -> Code {
        match code {
            RefusalCode::Invalid => Code::Invalid,
            RefusalCode::TooLarge => Code::TooLarge,
            RefusalCode::Full => Code::Full,
        }
    }
}

/// The one line that is no answer to an event.
const WANT_KEY: &[u8] = b"{\"want\":\"key\"}\n";

#[derive(Serialize, Deserialize)]
struct RawAnswer<'a> {
    ok: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upto: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    field: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
}

impl<'a> Answer<'a> {
    /// The answer to a refused event.
    pub fn refused(n: Option<u64>, refusal: &'a Refusal) -> Answer<'a> {
        Answer::Refused {
            n,
            code: refusal.code.into(),
            field: refusal.field.as_deref().map(Cow::Borrowed),
            message: Cow::Borrowed(&refusal.message),
        }
    }

    /// Appends it as a line, newline included.
    pub fn write(&self, out: &mut Vec<u8>) {
        if *self == Answer::WantKey {
            return out.extend_from_slice(WANT_KEY);
        }
        let mut raw =
            RawAnswer { ok: true, id: None, upto: None, n: None, code: None, field: None, message: None };
        match self {
            Answer::Ok { id } => raw.id = Some(Cow::Borrowed(id)),
            Answer::Durable { upto } => raw.upto = Some(*upto),
            Answer::WantKey => {}
            Answer::Refused { n, code, field, message } => {
                (raw.ok, raw.n, raw.code) = (false, *n, Some(*code));
                raw.field = field.as_deref().map(Cow::Borrowed);
                raw.message = Some(Cow::Borrowed(message));
            }
        }
        write_line(out, &raw);
    }

    /// Reads an answer, with or without its newline. Members that are not known are ignored.
    pub fn parse(line: &'a [u8]) -> Result<Answer<'a>, Refusal> {
        if line.trim_ascii_end() == WANT_KEY.trim_ascii_end() {
            return Ok(Answer::WantKey);
        }
        let raw: RawAnswer<'a> = serde_json::from_slice(line)
            .map_err(|error| Refusal::invalid(format!("not an answer: {error}")))?;
        match raw {
            RawAnswer { ok: true, upto: Some(upto), .. } => Ok(Answer::Durable { upto }),
            RawAnswer { ok: true, id: Some(id), .. } => Ok(Answer::Ok { id }),
            RawAnswer { ok: false, code: Some(code), n, field, message, .. } => {
                Ok(Answer::Refused { n, code, field, message: message.unwrap_or_default() })
            }
            _ => Err(Refusal::invalid("not an answer: neither ok with id or upto, nor a code")),
        }
    }
}

fn write_line(out: &mut Vec<u8>, line: &impl Serialize) {
    serde_json::to_writer(&mut *out, line).expect("a Vec takes any write, and a line has only text keys");
    out.push(b'\n');
}
