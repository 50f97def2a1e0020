//! What holds for every input, not only for the ones we thought of.

use proptest::prelude::*;
use revenium_event::line::{self, Answer};
use revenium_event::{Identity, Kind, Minted, Producer, freeze};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use crate::support::*;

/// Values of every type, many of them near a limit.
fn raw_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?",
        "\"[ -!#-\\[\\]-~äß😀]{0,20}\"",
        (200..300_usize).prop_map(|chars| format!("\"{}\"", "é".repeat(chars))),
        "\"(\\\\u[0-9a-f]{4}|\\\\n|\\\\\"|a){0,300}\"",
        Just("\"2026-11-23T07:44:08Z\"".to_owned()),
        Just("\"2026-11-23 07:44\"".to_owned()),
        Just("1795419848.5".to_owned()),
        "\"[0-9]{1,20}\"",
        "[a-z]{1,12}".prop_map(|word| format!("\"{word}\"")),
        Just("[1, \"a\"]".to_owned()),
        Just("{ }".to_owned()),
        Just("{\"id\":\"u\",\"email\":[],\"credential\":{\"name\":\"n\"}}".to_owned()),
        Just("{\"agent\":\"a\",\"trace_id\":\"t\",\"subscriber_id\":\"s\",\"x\":1}".to_owned()),
    ]
}

/// Names that mean something, in every dialect.
const KNOWN: &str = "\
    kind profile model provider inputTokenCount output_token_count totalTokenCount \
    cacheReadTokenCount stopReason costType isStreamed streamed requestTime responseTime \
    completionStartTime request_duration timeToFirstToken transactionId spanId traceId trace_type \
    retryNumber organization_id organizationName productId product_name agent subscriber \
    subscriber_id subscriberEmail credentialAlias usage_metadata agenticJobId skillSource \
    operationType operationSubtype effort speed querySource promptLength totalCost costUsd \
    costMultiplier billingSkipped skipReason pricingTier responseQualityScore errorCode systemPrompt \
    inputMessages promptsTruncated requestedImageCount durationSeconds characterCount toolId \
    timestamp durationMs payload sourceType responseCode attributes";

/// A name of those, or one that means nothing.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![8 => prop::sample::select(KNOWN.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned), 2 => "[a-z_]{0,6}"]
}

/// An event: a body that lacks nothing, with members added, changed and put in another order.
fn event() -> impl Strategy<Value = String> {
    let members = prop::collection::vec((name(), raw_value()), 0..8);
    let spaces = prop::sample::select(&["", " ", "\n\t"][..]);
    (prop::sample::select(&BASES[..]), members, spaces, any::<bool>()).prop_map(
        |(base, added, space, first)| {
            let taken: Vec<_> = added.iter().map(|(name, _)| name.as_str()).collect();
            let base =
                members_of(&with(base, "")).into_iter().filter(|(name, _)| !taken.contains(&name.as_str()));
            let base: Vec<_> = base.collect();
            let (front, back) = if first { (added.clone(), base) } else { (base, added.clone()) };
            let members: Vec<_> = front
                .into_iter()
                .chain(back)
                .map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
                .collect();
            format!("{{{}}}", members.join(","))
        },
    )
}

/// The members of an object in order, values raw.
fn members_of(object: &str) -> Vec<(String, String)> {
    struct Ordered(Vec<(String, String)>);
    impl<'de> serde::Deserialize<'de> for Ordered {
        fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Ordered;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                    let mut members = Vec::new();
                    while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                        members.push((name, value.get().to_owned()));
                    }
                    Ok(Ordered(members))
                }
            }
            source.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Ordered>(object).expect("it is an object").0
}

fn frozen_again(first: &revenium_event::Frozen) -> Vec<u8> {
    // The kind goes right behind the last value, so that cutting it out leaves no trace.
    let members = body(first).strip_suffix('}').expect("it is an object").trim_end();
    let routed = format!("{members},\"kind\":\"{}\"{}", first.kind, &body(first)[members.len()..]);
    freeze(routed.as_bytes(), &Identity::Body, &Minted { now_ms: 0, random: [0; 16] })
        .unwrap_or_else(|refusal| panic!("{refusal}: {routed}"))
        .body
}

/// `camelCase` of a name, to follow a member through its renaming.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |camel, word| {
        let mut letters = word.chars();
        camel
            + &letters.next().map(|letter| letter.to_ascii_uppercase().to_string()).unwrap_or_default()
            + letters.as_str()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_freezing_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), now_ms: u64) {
        let _ = freeze(&bytes, &Identity::Body, &Minted { now_ms, random: [0; 16] });
        let _ = line::parse(&bytes);
        let _ = Answer::parse(&bytes);
    }

    #[test]
    fn nearly_json_makes_nothing_panic(text in "[{}\\[\\]\",:\\\\un0-9eE.+-]{0,60}", n: u64) {
        let _ = freeze(text.as_bytes(), &Identity::Body, &MINTED);
        let _ = line::parse(text.as_bytes());
        let _ = line::parse(format!("{{\"n\":{n},{text}").as_bytes());
    }

    #[test]
    fn freezing_what_is_frozen_changes_nothing(event in event(), now_ms: u64) {
        let minted = Minted { now_ms, random: [3; 16] };
        if let Ok(first) = freeze(event.as_bytes(), &Identity::Body, &minted) {
            let again = frozen_again(&first);
            prop_assert_eq!(body(&first), String::from_utf8_lossy(&again));
        }
    }

    #[test]
    fn the_same_event_and_identity_give_the_same_keys(event in event(), n: u64, early: u64, late: u64) {
        let identity = Identity::Numbered { producer: Producer::from_bytes([5; 16]), n };
        let at = |now_ms| freeze(event.as_bytes(), &identity, &Minted { now_ms, random: [now_ms.to_le_bytes()[0]; 16] });
        if let (Ok(first), Ok(second)) = (at(early), at(late)) {
            prop_assert_eq!(first.idempotency_key, second.idempotency_key);
            prop_assert_eq!(first.transaction_id, second.transaction_id);
            prop_assert_eq!(first.fingerprint, second.fingerprint);
        }
    }

    #[test]
    fn amounts_keep_their_digits_and_members_their_order(event in event()) {
        let Ok(frozen) = try_freeze(&event) else { return Ok(()) };
        let sent = members_of(body(&frozen));
        let came = members_of(&event);
        for (spelled, value) in &came {
            let name = camel(spelled);
            let is_amount = ["TokenCount", "Cost", "costUsd", "payload", "durationSeconds", "characterCount"]
                .iter()
                .any(|amount| name.ends_with(amount));
            let is_number = value.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            if is_amount && is_number {
                // Where the kind has no such field, it keeps the name it came under.
                let has = sent.iter().any(|(sent, kept)| (*sent == name || sent == spelled) && kept == value);
                prop_assert!(has, "{} is not {} in {:?}", name, value, sent);
            }
        }
        // Members that are still there stand in the order they came, unless they came twice or a
        // dialect set them from others.
        let order: Vec<_> = came.iter().map(|(name, _)| camel(name)).collect();
        let is_told = |name: &String| {
            order.iter().filter(|came| *came == name).count() == 1
                && !["subscriber", "organizationName", "productName", "traceId", "agent", "transactionId", "isStreamed"].contains(&name.as_str())
        };
        let told = sent.iter().map(|(name, _)| camel(name)).filter(is_told);
        let places: Vec<_> = told.filter_map(|name| order.iter().position(|came| *came == name)).collect();
        prop_assert!(places.is_sorted(), "{:?} from {:?}", sent, came);
    }

    #[test]
    fn a_frozen_body_is_one_object_with_an_id_and_no_routing(event in event()) {
        let Ok(frozen) = try_freeze(&event) else { return Ok(()) };
        let members: BTreeMap<_, _> = members_of(body(&frozen)).into_iter().collect();
        prop_assert!(!members.contains_key("kind") && !members.contains_key("profile"));
        let id = &members["transactionId"];
        prop_assert_eq!(serde_json::from_str(id).unwrap_or_else(|_| id.clone()), frozen.transaction_id.clone());
        prop_assert!(frozen.idempotency_key.len() <= 255);
        prop_assert!(Kind::ALL.contains(&frozen.kind));
    }

    #[test]
    fn a_numbered_line_is_its_event(event in event(), n: u64) {
        let line = event.replacen('{', &format!("{{\"n\":{n},"), 1);
        let Ok(line::Line::Event { n: Some(read), event: rest }) = line::parse(line.as_bytes()) else {
            panic!("{line}");
        };
        prop_assert_eq!(read, n);
        prop_assert_eq!(String::from_utf8_lossy(&rest), event);
    }
}
