//! What Revenium's validation would lose a record for, settled before it is sent.
//!
//! A field whose breach loses the whole record is cut, rewritten or dropped, with a warning, and
//! the record is kept. Only amounts and what the server bills or recognises by are refused: there
//! is no nearest right value for money.
//!
//! Two decisions beyond Revenium's documents. A number or truth value that came as text is unquoted
//! (its digits stay). A `stopReason` is required and a closed list: providers' own words are
//! translated as Revenium's Node SDK does, and an unknown word becomes END, as in every one of its
//! SDKs, with a warning; refusing it would lose an event over a label.

use crate::draft::Draft;
use crate::field::{Charset, Field, Rule};
use crate::limits::{JOB_ID_CHARS_MAX, PROMPT_CHARS_MAX, TRANSACTION_ID_CHARS_MAX};
use crate::number::{self, NotWhole};
use crate::time::{self, Reading};
use crate::{Reason, Refusal, What, identity, object, subscriber, text};

/// What becomes of a value.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Another raw value takes its place and is judged again.
    Set(String, What),
    Drop(Reason),
    /// The event is refused: the field's name and this say why.
    Refuse(&'static str),
}

use Verdict::{Drop, Keep, Refuse, Set};

/// Judges every field of the event and does what follows.
pub(crate) fn apply(draft: &mut Draft<'_>) -> Result<(), Refusal> {
    for &field in crate::field::FIELDS {
        if draft.place(field).is_some() {
            apply_to(draft, field)?;
        }
    }
    Ok(())
}

fn apply_to(draft: &mut Draft<'_>, field: Field) -> Result<(), Refusal> {
    let rule = field.rule(draft.kind);
    if rule == Rule::Subscriber {
        return subscriber::guard(draft);
    }
    while let Some(raw) = draft.raw(field) {
        match judge(rule, raw) {
            Keep => break,
            Set(value, what) => {
                draft.set(field, value);
                draft.warn(field.name(), what);
                if rule == Rule::Prompt && matches!(what, What::Cut { .. }) {
                    draft.set(Field::PromptsTruncated, "true");
                }
            }
            Drop(reason) => {
                draft.cut(field);
                draft.warn(field.name(), What::Dropped(reason));
            }
            Refuse(why) => return Err(Refusal::field(field.name(), format!("{} {why}", field.name()))),
        }
    }
    Ok(())
}

/// Judges the members of a nested object, such as the subscriber's, by one rule for text.
pub(crate) fn judge_text(raw: &str, chars_max: usize) -> Option<(Option<String>, What)> {
    match judge(Rule::Text(chars_max), raw) {
        Set(value, what) => Some((Some(value), what)),
        Drop(reason) => Some((None, What::Dropped(reason))),
        Keep | Refuse(_) => None,
    }
}

/// What becomes of the raw value of a field that obeys `rule`. Null is always kept: it says nothing.
fn judge(rule: Rule, raw: &str) -> Verdict {
    if raw == "null" {
        return Keep;
    }
    match rule {
        Rule::Free | Rule::Subscriber => Keep,
        Rule::Text(chars_max) => judge_scalar(raw, chars_max),
        Rule::Tag(charset, chars_max) => match judge_scalar(raw, chars_max) {
            Keep => judge_code(raw, |text| is_of(text, charset)),
            other => other,
        },
        Rule::Code(charset, chars_max) => {
            judge_code(raw, |text| is_of(text, charset) && text.len() <= chars_max)
        }
        Rule::JobId => judge_code(raw, is_job_id),
        Rule::Prompt => judge_prompt(raw),
        Rule::Name => {
            if text::inner(raw).is_some() {
                Keep
            } else {
                Refuse("must be text")
            }
        }
        Rule::TransactionId => judge_transaction_id(raw),
        Rule::Time => match time::read(raw) {
            Reading::Strict => Keep,
            Reading::Rewritten(value, reason) => Set(value, What::Rewritten(reason)),
            Reading::None if text::is_blank(raw) => Drop(Reason::Type),
            Reading::None => Refuse("must be an ISO-8601 time with its zone, like 2026-11-23T07:44:08Z"),
        },
        Rule::Object => {
            if raw.starts_with('{') {
                Keep
            } else {
                Drop(Reason::Type)
            }
        }
        Rule::Payload => judge_payload(raw),
        Rule::Listed(list) => judge_listed(raw, list),
        Rule::StopReason => judge_stop_reason(raw),
        Rule::CostType if text::decode(raw).as_deref() == Some("AI") => Keep,
        Rule::CostType => Set("\"AI\"".to_owned(), What::Replaced(Reason::Unlisted)),
        Rule::Flag | Rule::Decision => judge_flag(raw, rule == Rule::Decision),
        Rule::Count | Rule::Quantity | Rule::Cost | Rule::Whole(_) | Rule::Number(_) | Rule::Millis => {
            unquoted(raw).unwrap_or_else(|| judge_number(rule, raw))
        }
    }
}

fn judge_scalar(raw: &str, chars_max: usize) -> Verdict {
    if text::is_structure(raw) {
        return Drop(Reason::Structure);
    }
    match text::cut(raw, chars_max) {
        Some((value, from)) => Set(value, What::Cut { from, to: chars_max }),
        // A number of so many digits would be stored as text.
        None if number::is_number(raw) && raw.len() > chars_max => Drop(Reason::Range),
        None => Keep,
    }
}

fn judge_code(raw: &str, is_right: impl Fn(&str) -> bool) -> Verdict {
    match text::decode(raw) {
        Some(text) if is_right(&text) => Keep,
        None if text::is_structure(raw) => Drop(Reason::Structure),
        // A bare number or truth value is stored as its own text.
        None if text::inner(raw).is_none() && is_right(raw) => Keep,
        _ => Drop(Reason::Characters),
    }
}

fn is_of(text: &str, Charset(marks): Charset) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

fn is_job_id(text: &str) -> bool {
    is_of(text, Charset(b"._-"))
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.len() <= JOB_ID_CHARS_MAX
        && !matches!(text, "types" | "conversion-funnel")
}

fn judge_prompt(raw: &str) -> Verdict {
    if text::is_structure(raw) {
        return Set(text::encode(raw), What::Rewritten(Reason::Structure));
    }
    match text::cut(raw, PROMPT_CHARS_MAX) {
        Some((value, from)) => Set(value, What::Cut { from, to: PROMPT_CHARS_MAX }),
        None => Keep,
    }
}

fn judge_transaction_id(raw: &str) -> Verdict {
    let is_long = |text: &str| {
        text.len() > TRANSACTION_ID_CHARS_MAX && text.chars().nth(TRANSACTION_ID_CHARS_MAX).is_some()
    };
    match text::decode(raw) {
        Some(text) if is_long(&text) => {
            Set(text::encode(&identity::stand_in(&text)), What::Replaced(Reason::Range))
        }
        Some(_) => Keep,
        None if number::is_number(raw) && !is_long(raw) => Keep,
        None => Drop(Reason::Type),
    }
}

fn judge_payload(raw: &str) -> Verdict {
    if !raw.starts_with('{') {
        return Refuse("must be an object, whose members are what is metered");
    }
    let Ok(payload) = object::Object::read(raw) else { return Refuse("has too many members") };
    let mut names: Vec<_> =
        payload.members.iter().map(|member| text::decode(member.key).unwrap_or(member.key.into())).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Refuse("has a member twice; send each once");
    }
    Keep
}

fn judge_listed(raw: &str, list: &'static [&'static str]) -> Verdict {
    let Some(text) = text::decode(raw) else { return Drop(Reason::Type) };
    match list.iter().find(|listed| listed.eq_ignore_ascii_case(&text)) {
        Some(listed) if **listed == text => Keep,
        Some(listed) => Set(text::encode(listed), What::Rewritten(Reason::Notation)),
        None => Drop(Reason::Unlisted),
    }
}

/// What Revenium takes, by its server's list and its SDKs' alike.
const STOP_REASONS: [&str; 8] =
    ["END", "END_SEQUENCE", "TIMEOUT", "TOKEN_LIMIT", "COST_LIMIT", "COMPLETION_LIMIT", "ERROR", "CANCELLED"];

/// Providers' words: Anthropic's as Revenium's Node SDK translates them, then OpenAI's. The last two are
/// on Revenium's server's list too, but no SDK of its sends them.
const STOP_WORDS: [(&str, &str); 13] = [
    ("end_turn", "END"),
    ("max_tokens", "TOKEN_LIMIT"),
    ("stop_sequence", "END_SEQUENCE"),
    ("tool_use", "END_SEQUENCE"),
    ("pause_turn", "END"),
    ("refusal", "ERROR"),
    ("model_context_window_exceeded", "TOKEN_LIMIT"),
    ("stop", "END"),
    ("length", "TOKEN_LIMIT"),
    ("tool_calls", "END_SEQUENCE"),
    ("function_call", "END_SEQUENCE"),
    ("content_filter", "ERROR"),
    ("tool_call", "END_SEQUENCE"),
];

fn judge_stop_reason(raw: &str) -> Verdict {
    let set = |reason: &str, what| Set(text::encode(reason), what);
    let Some(text) = text::decode(raw) else { return set("END", What::Replaced(Reason::Type)) };
    if text.trim().is_empty() {
        return Keep;
    }
    if let Some(listed) = STOP_REASONS.iter().find(|listed| listed.eq_ignore_ascii_case(&text)) {
        return match *listed {
            listed if listed == text => Keep,
            listed => set(listed, What::Rewritten(Reason::Notation)),
        };
    }
    match STOP_WORDS.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text)) {
        Some((_, reason)) => set(reason, What::Rewritten(Reason::Notation)),
        None => set("END", What::Replaced(Reason::Unlisted)),
    }
}

fn judge_flag(raw: &str, decides: bool) -> Verdict {
    if matches!(raw, "true" | "false") {
        return Keep;
    }
    let text = text::decode(raw).unwrap_or_default();
    match ["true", "false"].into_iter().find(|flag| flag.eq_ignore_ascii_case(&text)) {
        Some(flag) => Set(flag.to_owned(), What::Rewritten(Reason::Text)),
        None if decides => Refuse("must be true or false"),
        None => Drop(Reason::Type),
    }
}

/// A number that came as text, without its quotes.
fn unquoted(raw: &str) -> Option<Verdict> {
    let text = text::inner(raw).filter(|text| number::is_spelled(text))?;
    Some(Set(text.to_owned(), What::Rewritten(Reason::Text)))
}

fn judge_number(rule: Rule, raw: &str) -> Verdict {
    if !number::is_number(raw) {
        return match rule {
            Rule::Count => Refuse("must be a whole number"),
            Rule::Quantity | Rule::Cost => Refuse("must be a number"),
            _ => Drop(Reason::Type),
        };
    }
    match (rule, number::whole(raw), number::finite(raw)) {
        (Rule::Count | Rule::Millis, Ok(_), _) => Keep,
        (Rule::Count, Err(NotWhole::Negative), _) => Refuse("must not be negative"),
        (Rule::Count, Err(NotWhole::TooLarge), _) => Refuse("must be at most 9223372036854775807"),
        (Rule::Count, Err(_), _) => Refuse("must be a whole number, without fraction or exponent"),
        (Rule::Millis, ..) => match number::truncated(raw) {
            Some(whole) => Set(whole.to_string(), What::Rewritten(Reason::Notation)),
            None => Drop(Reason::Range),
        },
        (Rule::Whole(max), Ok(whole), _) if whole <= max => Keep,
        (Rule::Whole(_), ..) => Drop(Reason::Range),
        (Rule::Number(below), _, Some(number)) if number.abs() < below => Keep,
        (Rule::Number(_), ..) => Drop(Reason::Range),
        (Rule::Quantity, _, Some(number)) if number < 0.0 => Refuse("must not be negative"),
        (_, _, Some(_)) => Keep,
        (_, _, None) => Refuse("is too large for a number"),
    }
}
