//! Whether Revenium would take a body, by what is known of its validation.
//!
//! Deliberately written from Revenium's contract alone and not from this project's own guards
//! (`revenium-event`), so that a mistake there shows here. Three ends: the record is stored;
//! it is refused with a 400 that names every field; or it is answered 201 and *never stored*,
//! which is what Revenium does with a text longer than its column. Where the contract is silent
//! this module takes the stricter reading: a negative count is refused, and so is a number in
//! quotes or a value that only a newer enum knows. Pure.

mod field;
mod table;

use serde::Serialize;

use super::body::{Members, Shape};
use field::{Class, Field, PROMPT_CHARS_MAX, Rule};
pub(super) use table::{ROUTES, Route};

/// What becomes of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Stored,
    /// 201, and the record is gone: `field` is longer than its column.
    Vanishes {
        field: String,
    },
    /// 400 for the whole record.
    Refused(Vec<FieldError>),
}

/// One member of the `errors` of Revenium's error body.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldError {
    pub(super) code: &'static str,
    pub(super) field: String,
    /// At most [`VALUE_CHARS_MAX`] characters of what was sent.
    pub(super) value: Option<String>,
    pub(super) message: String,
    pub(super) resolution: String,
}

impl FieldError {
    /// For a body that isn't one JSON object.
    pub(super) fn not_json() -> Self {
        Self {
            code: "INVALID_JSON",
            field: String::new(),
            value: None,
            message: "Invalid JSON format".to_owned(),
            resolution: "Send one JSON object".to_owned(),
        }
    }
}

/// How much of a refused value is told back.
const VALUE_CHARS_MAX: usize = 64;

/// Judges the body of a POST to `route`.
pub(super) fn judge(route: &Route, members: &Members<'_>) -> Verdict {
    let mut findings = Findings::default();
    for field in route.fields() {
        check(&mut findings, field.name, field, members);
    }
    if let Some(subscriber) = members.object("subscriber").filter(|_| route.has_subscriber()) {
        check_subscriber(&mut findings, &subscriber);
    }
    if !route.one_of.is_empty() && route.one_of.iter().all(|name| is_absent(members, name)) {
        let names = route.one_of.join(" or ");
        findings.refuse("REQUIRED", route.one_of[0], None, &format!("{names} is required"));
    }
    findings.verdict()
}

#[derive(Default)]
struct Findings {
    errors: Vec<FieldError>,
    too_long: Option<String>,
}

impl Findings {
    fn refuse(&mut self, code: &'static str, field: &str, value: Option<&str>, message: &str) {
        self.errors.push(FieldError {
            code,
            field: field.to_owned(),
            value: value.map(|raw| raw.chars().take(VALUE_CHARS_MAX).collect()),
            message: message.to_owned(),
            resolution: match code {
                "REQUIRED" => format!("Send {field}"),
                _ => format!("Correct {field} or leave it out"),
            },
        });
    }

    fn verdict(self) -> Verdict {
        match (self.errors.is_empty(), self.too_long) {
            (false, _) => Verdict::Refused(self.errors),
            (true, Some(field)) => Verdict::Vanishes { field },
            (true, None) => Verdict::Stored,
        }
    }
}

fn is_absent(members: &Members<'_>, name: &str) -> bool {
    matches!(members.raw(name), None | Some("null"))
}

fn check_subscriber(findings: &mut Findings, subscriber: &Members<'_>) {
    for (name, field) in
        [("subscriber.id", &table::SUBSCRIBER_ID), ("subscriber.email", &table::SUBSCRIBER_EMAIL)]
    {
        check(findings, name, field, subscriber);
    }
    check(findings, "subscriber.credential", &table::CREDENTIAL, subscriber);
    if let Some(credential) = subscriber.object("credential") {
        check(findings, "subscriber.credential.name", &table::CREDENTIAL_NAME, &credential);
        check(findings, "subscriber.credential.value", &table::CREDENTIAL_VALUE, &credential);
    }
}

fn check(findings: &mut Findings, name: &str, field: &Field, members: &Members<'_>) {
    let Some(raw) = members.raw(field.name).filter(|raw| *raw != "null") else {
        if field.is_required {
            findings.refuse("REQUIRED", name, None, &format!("{name} is required"));
        }
        return;
    };
    let Some(shape) = members.shape(field.name) else {
        findings.refuse("INVALID_TYPE", name, None, &format!("{name} is not a valid text"));
        return;
    };
    if field.is_required && matches!(&shape, Shape::Text(text) if text.trim().is_empty()) {
        findings.refuse("REQUIRED", name, Some(raw), &format!("{name} must not be blank"));
        return;
    }
    match field.rule.check(&shape) {
        Fit::Fits => {}
        Fit::TooLong => {
            findings.too_long.get_or_insert_with(|| name.to_owned());
        }
        Fit::Not(code, what) => findings.refuse(code, name, Some(raw), &format!("{name} must be {what}")),
    }
}

/// How a value fits its rule.
#[derive(Debug, PartialEq)]
enum Fit {
    Fits,
    TooLong,
    /// Code, and what it must be.
    Not(&'static str, String),
}

impl Rule {
    fn check(&self, shape: &Shape<'_>) -> Fit {
        match self {
            Self::Text => text(shape, None),
            Self::TextUpTo(chars_max) => text(shape, Some(*chars_max)),
            Self::Json => match shape {
                Shape::Text(_) => text(shape, Some(PROMPT_CHARS_MAX)),
                _ => not_a("a JSON text in quotes"),
            },
            Self::Token(class, chars_max) => token(shape, *class, *chars_max),
            Self::JobId => job_id(shape),
            Self::Uuid => scalar(shape, "a UUID", is_uuid),
            Self::Time => scalar(shape, "an ISO-8601 time with its zone", is_time),
            Self::OneOf(values) => one_of(shape, values),
            Self::Whole { max } => number(shape, "a whole number in range", |digits| {
                digits.parse::<i64>().is_ok_and(|number| (0..=*max).contains(&number))
            }),
            Self::Decimal { below } => number(shape, "a finite number in range", |digits| {
                digits.parse::<f64>().is_ok_and(|number| number.is_finite() && number.abs() < *below)
            }),
            Self::Flag => match shape {
                Shape::Flag => Fit::Fits,
                _ => not_a("true or false"),
            },
            Self::Object => match shape {
                Shape::Object(raw)
                    if Members::parse(raw.as_bytes()).is_some_and(|inner| inner.is_sound()) =>
                {
                    Fit::Fits
                }
                _ => not_a("an object"),
            },
        }
    }
}

fn not_a(what: &str) -> Fit {
    Fit::Not("INVALID_TYPE", what.to_owned())
}

/// Any scalar: Revenium reads numbers and flags as text.
fn text(shape: &Shape<'_>, chars_max: Option<usize>) -> Fit {
    match shape {
        Shape::List | Shape::Object(_) => not_a("a text, not a list or an object"),
        Shape::Text(text) if chars_max.is_some_and(|max| text.chars().count() > max) => Fit::TooLong,
        Shape::Number(digits) if chars_max.is_some_and(|max| digits.len() > max) => Fit::TooLong,
        _ => Fit::Fits,
    }
}

fn scalar(shape: &Shape<'_>, what: &str, is_good: impl Fn(&str) -> bool) -> Fit {
    match shape {
        Shape::Text(text) if is_good(text) => Fit::Fits,
        Shape::Text(_) => Fit::Not("INVALID_VALUE", what.to_owned()),
        _ => not_a(what),
    }
}

fn number(shape: &Shape<'_>, what: &str, is_good: impl Fn(&str) -> bool) -> Fit {
    match shape {
        Shape::Number(digits) if is_good(digits) => Fit::Fits,
        Shape::Number(_) => Fit::Not("OUT_OF_RANGE", what.to_owned()),
        _ => not_a(what),
    }
}

fn one_of(shape: &Shape<'_>, values: &[&str]) -> Fit {
    match shape {
        Shape::Text(text) if values.contains(&text.as_str()) => Fit::Fits,
        Shape::Text(_) => Fit::Not("INVALID_ENUM", format!("one of {}", values.join(", "))),
        _ => not_a("a text"),
    }
}

fn token(shape: &Shape<'_>, class: Class, chars_max: usize) -> Fit {
    let is_good =
        |text: &str| (1..=chars_max).contains(&text.len()) && text.bytes().all(|byte| class.contains(byte));
    let what = format!("1 to {chars_max} characters of A-Z a-z 0-9 {}", class.others());
    match shape {
        Shape::Number(digits) if is_good(digits) => Fit::Fits,
        _ => scalar(shape, &what, is_good),
    }
}

fn job_id(shape: &Shape<'_>) -> Fit {
    scalar(shape, "a job id: a letter or digit, then up to 254 of A-Z a-z 0-9 . _ -", |text| {
        (1..=255).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|byte| Class::Dotted.contains(byte))
            && text != "types"
            && text != "conversion-funnel"
    })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `2026-11-23T07:44:08Z`, `...08.123Z` or `...08+01:00`: a real date, and a zone.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_form = bytes.len() >= 20
        && bytes[..19].iter().zip(b"dddd-dd-ddTdd:dd:dd").all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        });
    let rest = text.get(19..).unwrap_or("");
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let has_zone = zone == "Z"
        || (zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone.bytes().skip(1).zip(b"dd:dd").all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                other => byte == *other,
            }));
    has_form && has_zone && text.parse::<jiff::Timestamp>().is_ok()
}

/// The route at `path`.
pub(super) fn route(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.path == path)
}

#[cfg(test)]
mod tests;
