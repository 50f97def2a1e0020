//! The server's own words, for a person to read: from Revenium's `ApiError`, or whatever came.
//!
//! Lenient in what it reads, strict in what it keeps: at most [`WORDS_BYTES_MAX`] bytes, one line,
//! no control characters, no API keys, and none of the values that the server echoes.

use serde_json::Value;

/// As much as a dead letter keeps.
pub(super) const WORDS_BYTES_MAX: usize = revenium_store::DEAD_WORDS_BYTES_MAX;

/// Prefixes of Revenium's API keys; what follows one is never shown.
const KEY_PREFIXES: [&str; 4] = ["hak_", "rev_mk_", "rev_sk_", "rev_rk_"];

/// What `body` says, or nothing.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let said = if let Ok(value @ Value::Object(_)) = serde_json::from_str::<Value>(text) {
        api_error(&value)
    } else if text.starts_with('<') {
        html(text)
    } else {
        text.to_owned()
    };
    tidy(&said)
}

/// One line without keys, within the bound.
pub(super) fn tidy(text: &str) -> String {
    let line: Vec<&str> =
        text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    let mut line = without_keys(line.join(" "));
    let mut end = line.len().min(WORDS_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

/// `{error, message, details: {field: msg}, errors: [{code, field, value, message, resolution}]}`.
/// `value` is the payload's, and left out.
fn api_error(value: &Value) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut say = |part: String| {
        if !part.is_empty() && !parts.contains(&part) {
            parts.push(part);
        }
    };
    for member in ["error", "code", "message", "detail", "title"] {
        match value.get(member) {
            Some(Value::Object(inner)) => {
                for member in ["code", "type", "message"] {
                    say(text(inner.get(member)));
                }
            }
            other => say(text(other)),
        }
    }
    if let Some(Value::Object(details)) = value.get("details") {
        for (field, message) in details {
            say(format!("{field}: {}", text(Some(message))));
        }
    }
    if let Some(Value::Array(errors)) = value.get("errors") {
        for error in errors {
            let of = |member| text(error.get(member));
            let said = [of("field"), of("code"), of("message"), of("resolution")];
            say(said.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "));
        }
    }
    // "Unauthorized; Unauthorized: unknown key" says it once.
    let said =
        parts.iter().filter(|part| !parts.iter().any(|other| other != *part && other.starts_with(*part)));
    said.map(String::as_str).collect::<Vec<_>>().join("; ")
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.trim().to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

/// A page is for a browser; its title is all that helps here.
fn html(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = start + lower[start..].find('<')?;
        page.get(start..end)
    });
    match title {
        Some(title) if !title.trim().is_empty() => format!("an HTML page: {}", title.trim()),
        _ => "an HTML page".to_owned(),
    }
}

fn without_keys(line: String) -> String {
    let mut shown = String::new();
    let mut rest = line.as_str();
    loop {
        let next = KEY_PREFIXES.iter().filter_map(|prefix| Some((rest.find(prefix)?, *prefix))).min();
        let Some((at, prefix)) = next else { break };
        let secret = at + prefix.len();
        shown.push_str(&rest[..secret]);
        shown.push_str("***");
        let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '=' | '+' | '/');
        rest = rest[secret..].trim_start_matches(is_key);
    }
    if shown.is_empty() {
        return line;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_words_are_read_from_whatever_it_sends() {
        let rows = [
            ("", ""),
            ("Error ID: 12\n\tplease  wait", "Error ID: 12 please wait"),
            (
                r#"{"status":400,"error":"Bad Request","message":"model is required","path":"/x"}"#,
                "Bad Request; model is required",
            ),
            (r#"{"message":"m","details":{"effort":"too long"}}"#, "m; effort: too long"),
            (
                r#"{"error":"Unauthorized","message":"Unauthorized: unknown API key"}"#,
                "Unauthorized: unknown API key",
            ),
            (
                r#"{"message":"m","errors":[{"code":"INVALID","field":"effort","value":"PAYLOAD","message":"no","resolution":"cut it"}]}"#,
                "m; effort: INVALID: no: cut it",
            ),
            (
                r#"{"error":{"code":"idempotency_key_mismatch","message":"other body"}}"#,
                "idempotency_key_mismatch; other body",
            ),
            (r#"{"message":"cut of"#, r#"{"message":"cut of"#),
            ("<!doctype html><html><TITLE> Sign in </TITLE>", "an HTML page: Sign in"),
            ("<html><title>open", "an HTML page"),
            ("[1]", "[1]"),
            ("bad key rev_mk_abcDEF-123, hak_x!", "bad key rev_mk_***, hak_***!"),
        ];
        for (body, expected) in rows {
            assert_eq!(words(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn words_are_cut_at_a_character() {
        let long = "é".repeat(WORDS_BYTES_MAX);
        assert_eq!(words(format!("a{long}").as_bytes()).len(), WORDS_BYTES_MAX - 1);
        assert_eq!(words(&[b'a', 0xff, b'b', 0x00, b'c']), "a\u{fffd}b c");
    }
}
