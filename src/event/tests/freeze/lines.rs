//! The line protocol, both ways.

use std::borrow::Cow;

use revenium_event::limits::LINE_BYTES_MAX;
use revenium_event::line::{Answer, Code, Hello, KeyLine, Line, holds_key, parse};
use revenium_event::{Producer, RefusalCode};

use crate::support::*;

#[track_caller]
fn event(line: &str) -> (Option<u64>, String) {
    match parse(line.as_bytes()) {
        Ok(Line::Event { n, event }) => (n, String::from_utf8(event.into_owned()).expect("it is text")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_loses_its_number_and_nothing_else() {
    let cases = [
        (r#"{"n":7,"model":"m"}"#, Some(7), r#"{"model":"m"}"#),
        (r#"{"n":18446744073709551615,"a":1}"#, Some(u64::MAX), r#"{"a":1}"#),
        (r#"{"n":0}"#, Some(0), "{}"),
        ("{ \"n\" : 7 , \"a\": 1 }\r\n", Some(7), "{ \"a\": 1 }"),
        (r#"{"a":{"n":1},"n":7,"b":2}"#, Some(7), r#"{"a":{"n":1},"b":2}"#),
        (r#"{"a":"\"n\":1","n":7}"#, Some(7), r#"{"a":"\"n\":1"}"#),
        (r#"{"a":"n"}"#, None, r#"{"a":"n"}"#),
        (r#"{"a":{"n":1}}"#, None, r#"{"a":{"n":1}}"#),
        (r#"{"model":"m"}"#, None, r#"{"model":"m"}"#),
        ("not json", None, "not json"),
        (r#"{"n":7,not json"#, Some(7), "{not json"),
    ];
    for (line, n, rest) in cases {
        assert_eq!(event(line), (n, rest.to_owned()), "{line}");
    }
}

#[test]
fn numbers_that_are_none_are_refused_by_name() {
    for n in ["-1", "1.0", "1e3", "18446744073709551616", "\"7\"", "null", "07"] {
        let refusal = parse(format!("{{\"n\":{n},\"a\":1}}").as_bytes()).expect_err("it is no number");
        assert!(refusal.field.as_deref() == Some("n") || n == "07", "{n}");
    }
    let refusal = parse(br#"{"a":1,"n":1,"n":2}"#).expect_err("one too many");
    assert_eq!(refusal.message, "n is given twice; send one number for each event");
}

#[test]
fn a_number_that_hides_in_an_event_is_refused_when_it_is_frozen() {
    for hidden in ["{\"n\":7,\"n\":8}", "{\"\\u006e\":8}"] {
        let (_, event) = event(hidden);
        assert_eq!(refused(&event).0, "n", "{hidden}");
    }
}

#[test]
fn a_hello_says_who_numbers_the_lines() {
    let producer = Producer::from_bytes([0xab; 16]);
    let hello = Hello {
        v: 1,
        producer: Some(producer),
        profile: Some("tenant-b".to_owned()),
        is_patient: true,
        ..Hello::default()
    };
    let mut line = Vec::new();
    hello.write(&mut line);
    assert!(line.ends_with(b"}\n"));
    assert_eq!(parse(&line), Ok(Line::Hello(hello)));
    let bare = Hello { v: 1, ..Hello::default() };
    assert_eq!(parse(br#"{"hello":{"v":1,"agent":"x"}}"#), Ok(Line::Hello(bare.clone())));
    assert_eq!(parse(br#"{"\u0068ello":{"v":1},"hello":{"v":1,"producer":null}}"#), Ok(Line::Hello(bare)));
}

#[test]
fn a_hello_says_that_a_key_is_at_hand_and_for_which_url() {
    let url = Some("https://api.example".to_owned());
    let hello = Hello { v: 1, profile: Some("key-0".to_owned()), key_at_hand: true, url, ..Hello::default() };
    let mut line = Vec::new();
    hello.write(&mut line);
    let expected = r#"{"hello":{"v":1,"profile":"key-0","key_at_hand":true,"url":"https://api.example"}}"#;
    let sorted = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(sorted(&String::from_utf8_lossy(&line)), sorted(expected));
    assert_eq!(parse(expected.as_bytes()), Ok(Line::Hello(hello)));
}

#[test]
fn a_key_is_handed_over_by_a_line_of_its_own() {
    let key = |value: &'static str, url: Option<&'static str>| {
        Ok(Line::Key(KeyLine { value: value.into(), url: url.map(Cow::Borrowed) }))
    };
    for (line, expected) in [
        (r#"{"key":{"value":"rev_1"}}"#, key("rev_1", None)),
        (
            r#" {"\u006bey" : {"url":"http://h","value":"rev_\u0031"} }"#,
            event_of(r#"{"\u006bey" : {"url":"http://h","value":"rev_\u0031"} }"#),
        ),
        (r#"{"key":{"url":"http://h","value":"rev_\u0031"}}"#, key("rev_1", Some("http://h"))),
        (r#"{"key":{"value":"rev_1","url":null}}"#, key("rev_1", None)),
        // An event may have a member of this name.
        (r#"{"key":"a","model":"m"}"#, event_of(r#"{"key":"a","model":"m"}"#)),
        (r#"{"a":{"key":{"value":"x"}}}"#, event_of(r#"{"a":{"key":{"value":"x"}}}"#)),
    ] {
        assert_eq!(parse(line.as_bytes()), expected, "{line}");
    }
}

fn event_of(line: &str) -> Result<Line<'_>, revenium_event::Refusal> {
    Ok(Line::Event { n: None, event: Cow::Borrowed(line.as_bytes()) })
}

#[test]
fn what_is_wrong_with_a_key_is_told_without_any_of_it() {
    for line in [
        r#"{"key":"rev_secret"}"#,
        r#"{"key":{"value":["rev_secret"]}}"#,
        r#"{"key":{"value":"rev_secret","url":7}}"#,
        r#"{"key":{"rev_secret":1}}"#,
        r#"{"key":{"value":"rev_secret"},"n":1}"#,
        r#"{"key":{"value":"rev_secret"},"key":{"value":"rev_secret"}}"#,
    ] {
        let refusal = parse(line.as_bytes()).expect_err("wrong");
        assert_eq!(refusal.field.as_deref(), Some("key"), "{line}");
        assert!(!refusal.message.contains("secret"), "{refusal:?}");
    }
    let line = KeyLine { value: "rev_secret".into(), url: None };
    assert_eq!(format!("{:?}", Line::Key(line)), "Key(***)");
    // Whatever made such a line an event, nobody may keep it.
    for (line, holds) in [
        (r#"{"\u006bey":{"value":"rev_secret"}}"#, true),
        (r#"{"n":1,"key":{"value":"rev_secret"}}"#, true),
        (r#"{"model":"m","key":"k"}"#, false),
        (r#"{"a":{"key":{}}}"#, false),
        ("[1]", false),
    ] {
        assert_eq!(holds_key(line.as_bytes()), holds, "{line}");
    }
}

#[test]
fn a_hello_of_another_version_is_told_which_is_spoken() {
    let refusal = parse(br#"{"hello":{"v":2,"producer":"x"}}"#).expect_err("from the future");
    assert_eq!(refusal.field.as_deref(), Some("hello.v"));
    assert_eq!(refusal.message, "version 2 is not spoken here; say v 1");
    let cases = [
        (r#"{"hello":{}}"#, "hello.v"),
        (r#"{"hello":{"v":"1"}}"#, "hello"),
        (r#"{"hello":7}"#, "hello"),
        (r#"{"hello":{"v":1,"producer":"p"}}"#, "hello.producer"),
        (r#"{"hello":{"v":1,"profile":"a b"}}"#, "hello.profile"),
        (r#"{"hello":{"v":1,"profile":"a.b"}}"#, "hello.profile"),
    ];
    for (line, field) in cases {
        assert_eq!(
            parse(line.as_bytes()).expect_err("it is no hello").field.as_deref(),
            Some(field),
            "{line}"
        );
    }
}

#[test]
fn a_line_past_the_limit_is_too_large() {
    let mut line = vec![b' '; LINE_BYTES_MAX + 1];
    assert!(parse(&line).is_ok(), "white space around the object is not counted");
    line.fill(b'a');
    assert_eq!(parse(&line).expect_err("it is too long").code, RefusalCode::TooLarge);
    assert!(parse(&line[1..]).is_ok());
}

#[test]
fn answers_are_lines_that_lead_back_to_themselves() {
    let answers = [
        (Answer::Ok { id: "k-1".into() }, r#"{"ok":true,"id":"k-1"}"#),
        (Answer::Durable { upto: 7 }, r#"{"ok":true,"upto":7}"#),
        (Answer::WantKey, r#"{"want":"key"}"#),
        (
            Answer::Refused {
                n: Some(7),
                code: Code::TooLarge,
                field: Some("model".into()),
                message: "model \"x\"".into(),
            },
            r#"{"ok":false,"n":7,"code":"too_large","field":"model","message":"model \"x\""}"#,
        ),
        (
            Answer::Refused { n: None, code: Code::Full, field: None, message: Cow::Borrowed("later") },
            r#"{"ok":false,"code":"full","message":"later"}"#,
        ),
    ];
    for (answer, expected) in answers {
        let mut line = Vec::new();
        answer.write(&mut line);
        assert_eq!(String::from_utf8_lossy(&line), format!("{expected}\n"));
        assert_eq!(Answer::parse(&line), Ok(answer));
    }
    for (code, name) in
        [(Code::Invalid, "invalid"), (Code::Conflict, "conflict"), (Code::Stopping, "stopping")]
    {
        let line = format!("{{\"ok\":false,\"code\":\"{name}\",\"new\":1}}");
        let expected = Answer::Refused { n: None, code, field: None, message: "".into() };
        assert_eq!(Answer::parse(line.as_bytes()), Ok(expected));
    }
    for wrong in ["", "{}", r#"{"ok":true}"#, r#"{"ok":false}"#, r#"{"ok":false,"code":"new"}"#] {
        assert!(Answer::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_refusal_is_answered_with_its_words() {
    let refusal = try_freeze("{}").expect_err("it lacks everything");
    let mut line = Vec::new();
    Answer::refused(Some(3), &refusal).write(&mut line);
    let expected = r#"{"ok":false,"n":3,"code":"invalid","field":"model","message":"model is missing; send the model's name as the provider returned it"}"#;
    assert_eq!(String::from_utf8_lossy(&line), format!("{expected}\n"));
}
