//! An event for a screen: without credentials, prompts and other long texts.
//!
//! Goes by names in any spelling, at any depth, and hides rather too much: whoever needs a hidden
//! text asks for the event as it is. Everything else is shown as it came, digit for digit.

use serde_json::value::RawValue;

use crate::object::Object;
use crate::text;

/// Names, in lower case and without `_` and `-`, whose values are secret, whatever they are.
const SECRET: [&str; 12] = [
    "subscribercredential",
    "subscribercredentialvalue",
    "credentialvalue",
    "apikey",
    "xapikey",
    "authorization",
    "password",
    "secret",
    "token",
    "accesstoken",
    "cookie",
    "setcookie",
];

/// Names whose texts, lists and objects are what was said to a model or by it.
const SAID: [&str; 15] = [
    "systemprompt",
    "inputmessages",
    "outputresponse",
    "prompt",
    "prompts",
    "message",
    "messages",
    "content",
    "text",
    "system",
    "input",
    "output",
    "completion",
    "response",
    "errormessage",
];

/// Longest text that is shown, in bytes: what has a column of Revenium's fits.
const SHOWN_BYTES_MAX: usize = 255;

/// The JSON `event` with what is secret replaced by `***` and what was said by its length. What is no
/// JSON is hidden whole. The result is JSON.
pub fn masked(event: &str) -> String {
    let mut out = String::with_capacity(event.len().min(4096));
    match serde_json::from_str::<&RawValue>(event) {
        Ok(raw) => write(raw.get(), "", &mut out),
        Err(_) => hide(event, &mut out),
    }
    out
}

fn write(raw: &str, name: &str, out: &mut String) {
    let is_said = SAID.contains(&name) && !raw.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    if SECRET.contains(&name) {
        out.push_str("\"***\"");
    } else if raw.starts_with('{') && !is_said {
        write_object(raw, name, out);
    } else if raw.starts_with('[') && !is_said {
        write_list(raw, name, out);
    } else if raw.starts_with('"') && name == "credential" {
        out.push_str("\"***\"");
    } else if matches!(raw, "true" | "false" | "null") || (!is_said && raw.len() <= SHOWN_BYTES_MAX) {
        out.push_str(raw);
    } else {
        hide(raw, out);
    }
}

fn write_object(raw: &str, name: &str, out: &mut String) {
    let Ok(object) = Object::read(raw) else { return hide(raw, out) };
    out.push('{');
    for (i, member) in object.members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.extend([member.key, ":"]);
        let of_member = plain(member.key);
        // Of a credential only its name is shown.
        if name == "credential" && of_member != "name" && &*member.value != "null" {
            out.push_str("\"***\"");
        } else {
            write(&member.value, &of_member, out);
        }
    }
    out.push('}');
}

fn write_list(raw: &str, name: &str, out: &mut String) {
    let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(raw) else { return hide(raw, out) };
    out.push('[');
    for (i, value) in values.into_iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(value.get(), name, out);
    }
    out.push(']');
}

fn hide(raw: &str, out: &mut String) {
    out.push_str(&text::encode(&format!("hidden: {} bytes", raw.len())));
}

/// A raw key as the lists have it.
fn plain(key: &str) -> String {
    let key = text::decode(key).unwrap_or_default();
    key.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn credentials_and_what_was_said_are_hidden_in_every_spelling() {
        let table = [
            (
                r#"{"subscriber":{"id":"u","credential":{"name":"n","value":"s3cret"}}}"#,
                r#"{"subscriber":{"id":"u","credential":{"name":"n","value":"***"}}}"#,
            ),
            (
                r#"{"subscriber_credential":"s3cret","subscriber_credential_name":"n"}"#,
                r#"{"subscriber_credential":"***","subscriber_credential_name":"n"}"#,
            ),
            (r#"{"subscriberCredential":"s3cret"}"#, r#"{"subscriberCredential":"***"}"#),
            (r#"{"subscriber\u005fcredential":["s3cret"]}"#, r#"{"subscriber\u005fcredential":"***"}"#),
            (
                r#"{"kind":"api-request","credential":"s3cret"}"#,
                r#"{"kind":"api-request","credential":"***"}"#,
            ),
            (
                r#"{"usage_metadata":{"subscriber":{"credential":{"value":"s3cret","other":1}}}}"#,
                r#"{"usage_metadata":{"subscriber":{"credential":{"value":"***","other":"***"}}}}"#,
            ),
            (r#"{"systemPrompt":"you are","n":1}"#, r#"{"systemPrompt":"hidden: 9 bytes","n":1}"#),
            (r#"{"input_messages":[{"a":1}]}"#, r#"{"input_messages":"hidden: 9 bytes"}"#),
            (r#"[{"content":"hello"}]"#, r#"[{"content":"hidden: 7 bytes"}]"#),
        ];
        for (event, shown) in table {
            assert_eq!(masked(event), shown);
        }
    }

    #[test]
    fn amounts_and_names_are_shown_as_they_came() {
        let event = r#"{ "a" : 0.10000000000000000001 , "payload":{"input": 25, "output":-1e3}, "b":[null,true,"x"] }"#;
        let shown =
            r#"{"a":0.10000000000000000001,"payload":{"input":25,"output":-1e3},"b":[null,true,"x"]}"#;
        assert_eq!(masked(event), shown);
    }

    #[test]
    fn long_texts_and_what_is_no_json_are_hidden() {
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(300));
        assert_eq!(masked(&long), r#"{"x":"hidden: 302 bytes"}"#);
        assert_eq!(masked("{\"x\":"), "\"hidden: 5 bytes\"");
        let deep = "[".repeat(120) + &"]".repeat(120);
        assert_eq!(masked(&deep), deep);
    }
}
