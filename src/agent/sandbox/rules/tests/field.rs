//! What a single field may be.

use super::*;

#[test]
fn a_text_of_its_column_is_stored_and_one_character_more_vanishes() {
    let columns_255 = [
        "transactionName",
        "taskType",
        "agent",
        "subscriptionId",
        "parentTransactionId",
        "environment",
        "region",
        "traceId",
        "operationSubtype",
        "errorReason",
        "middlewareSource",
    ];
    let others = [
        ("productName", 224),
        ("traceName", 256),
        ("ticketId", 256),
        ("agentVersion", 64),
        ("subscriberEmailSource", 20),
        ("modelHost", 50),
        ("agenticJobName", 512),
        ("agenticJobType", 128),
        ("agenticJobVersion", 64),
        ("skillName", 256),
        ("skillPluginName", 256),
        ("skillMarketplaceName", 256),
        ("skillInvocationTrigger", 32),
        ("systemPrompt", 50_000),
        ("outputResponse", 50_000),
        ("inputMessages", 50_000),
    ];
    for (name, chars_max) in columns_255.map(|name| (name, 255)).into_iter().chain(others) {
        assert_eq!(with("completion", name, &text(chars_max)), Verdict::Stored, "{name}");
        let vanishes = Verdict::Vanishes { field: name.to_owned() };
        assert_eq!(with("completion", name, &text(chars_max + 1)), vanishes, "{name}");
    }
    assert_eq!(
        with("tool", "productName", &text(225)),
        Verdict::Vanishes { field: "productName".to_owned() }
    );
    for name in ["organizationName", "squadName", "model", "transactionId"] {
        assert_eq!(with("completion", name, &text(3_000)), Verdict::Stored, "{name} has no known limit");
    }
}

#[test]
fn a_subscriber_has_its_own_limits() {
    let subscriber =
        |member: &str, raw: &str| with("completion", "subscriber", &format!("{{\"{member}\":{raw}}}"));
    for member in ["id", "email"] {
        assert_eq!(subscriber(member, &text(255)), Verdict::Stored);
        let vanishes = Verdict::Vanishes { field: format!("subscriber.{member}") };
        assert_eq!(subscriber(member, &text(256)), vanishes);
        let list = subscriber(member, "[]");
        assert_eq!(refused_fields(&list), [(format!("subscriber.{member}").as_str(), "INVALID_TYPE")]);
    }
    assert_eq!(subscriber("credential", r#"{"name":"n","value":"v"}"#), Verdict::Stored);
    let bad = [
        ("credential", "\"n\"", "subscriber.credential"),
        ("credential", r#"{"name":{}}"#, "subscriber.credential.name"),
        ("credential", r#"{"value":[]}"#, "subscriber.credential.value"),
    ];
    for (member, raw, field) in bad {
        assert_eq!(refused_fields(&subscriber(member, raw)), [(field, "INVALID_TYPE")]);
    }
    for raw in ["\"user-1\"", "[]", "7"] {
        assert_eq!(refused_fields(&with("completion", "subscriber", raw)), [("subscriber", "INVALID_TYPE")]);
    }
}

#[test]
fn a_list_or_an_object_for_any_text_is_refused_and_a_scalar_is_not() {
    for route in &ROUTES {
        let texts = route.fields().filter(|field| {
            matches!(field.rule, Rule::Text | Rule::TextUpTo(_) | Rule::Json | Rule::Token(..))
        });
        for field in texts {
            for raw in ["[]", "{}", "[\"x\"]"] {
                let verdict = with(route.kind, field.name, raw);
                assert_eq!(refused_fields(&verdict), [(field.name, "INVALID_TYPE")], "{} {raw}", route.kind);
            }
            if matches!(field.rule, Rule::Text | Rule::TextUpTo(_)) {
                assert_eq!(
                    with(route.kind, field.name, "7"),
                    Verdict::Stored,
                    "{} {}",
                    route.kind,
                    field.name
                );
            }
        }
    }
}

#[test]
fn tokens_have_their_characters_and_their_length() {
    let table = [
        ("effort", 16, "aZ0_-", ".:"),
        ("speed", 16, "aZ0_-", ".:"),
        ("querySource", 128, "aZ0_-.:", "/ "),
        ("subagentType", 128, "aZ0_-.:", "/ "),
        ("clientSurface", 64, "aZ0_-.", ":/"),
        ("entrypoint", 64, "aZ0_-.", ":/"),
        ("promptId", 64, "aZ0_-", ".:"),
        ("traceType", 128, "aZ0_-", ".:"),
    ];
    for (name, chars_max, good, bad) in table {
        let refused =
            |raw: String| refused_fields(&with("completion", name, &raw)) == [(name, "INVALID_VALUE")];
        assert_eq!(with("completion", name, &format!("\"{good}\"")), Verdict::Stored, "{name}");
        let longest = "x".repeat(chars_max);
        assert_eq!(with("completion", name, &format!("\"{longest}\"")), Verdict::Stored, "{name}");
        assert!(refused(format!("\"{longest}x\"")), "{name} one too long");
        assert!(refused("\"\"".to_owned()), "{name} empty");
        assert!(refused("\"\u{e9}\"".to_owned()), "{name} not ASCII");
        assert!(refused("\"a\\n\"".to_owned()), "{name} with a line's end");
        for other in bad.chars() {
            assert!(refused(format!("\"a{other}\"")), "{name} with {other}");
        }
    }
}

#[test]
fn a_job_id_is_a_job_id() {
    let longest = format!("\"a{}\"", "x".repeat(254));
    for good in ["\"a\"", "\"0.a_B-c\"", "\"typesx\"", "\"conversion-funnels\"", &longest] {
        for kind in ["completion", "tool", "video"] {
            assert_eq!(with(kind, "agenticJobId", good), Verdict::Stored, "{good}");
        }
    }
    let too_long = format!("\"a{}\"", "x".repeat(255));
    let bad = [
        "\"\"",
        "\"_a\"",
        "\".a\"",
        "\"-a\"",
        "\"a b\"",
        "\"a\\n\"",
        "\"types\"",
        "\"conversion-funnel\"",
        "7",
    ];
    for bad in bad.into_iter().chain([too_long.as_str()]) {
        assert!(matches!(with("completion", "agenticJobId", bad), Verdict::Refused(_)), "{bad}");
        assert!(matches!(with("tool", "agenticJobId", bad), Verdict::Refused(_)), "{bad}");
    }
}

#[test]
fn whole_numbers_have_no_fraction_no_sign_and_an_end() {
    let (int_max, long_max) = ("2147483647", "9223372036854775807");
    let table = [
        ("completion", "promptLength", int_max, "2147483648"),
        ("completion", "retryNumber", int_max, "2147483648"),
        ("completion", "errorCode", int_max, "2147483648"),
        ("completion", "inputTokenCount", long_max, "9223372036854775808"),
        ("completion", "totalTokenCount", long_max, "9223372036854775808"),
        ("completion", "cacheReadTokenCount", long_max, "9223372036854775808"),
        ("completion", "requestDuration", long_max, "9223372036854775808"),
        ("completion", "timeToFirstToken", long_max, "9223372036854775808"),
        ("image", "actualImageCount", int_max, "2147483648"),
        ("audio", "characterCount", long_max, "9223372036854775808"),
        ("tool", "durationMs", long_max, "9223372036854775808"),
        ("api-response", "responseCode", int_max, "2147483648"),
    ];
    for (kind, name, most, one_more) in table {
        for good in ["0", most] {
            assert_eq!(with(kind, name, good), Verdict::Stored, "{name} {good}");
        }
        for bad in [one_more, "-1", "1.0", "1e3", "1e999"] {
            let verdict = with(kind, name, bad);
            assert_eq!(refused_fields(&verdict), [(name, "OUT_OF_RANGE")], "{name} {bad}");
        }
        for bad in ["\"1\"", "true", "[]", "{}"] {
            let verdict = with(kind, name, bad);
            assert_eq!(refused_fields(&verdict), [(name, "INVALID_TYPE")], "{name} {bad}");
        }
    }
}

#[test]
fn decimals_are_finite() {
    let digits = "0.1234567890123456789012345678901234567890";
    let fields = [
        ("completion", "totalCost"),
        ("completion", "costMultiplier"),
        ("completion", "temperature"),
        ("audio", "durationSeconds"),
        ("audio", "speed"),
        ("video", "creditsConsumed"),
        ("tool", "costUsd"),
    ];
    for (kind, name) in fields {
        for good in ["0", "-1.5", "1e300", digits] {
            assert_eq!(with(kind, name, good), Verdict::Stored, "{name} {good}");
        }
        assert_eq!(refused_fields(&with(kind, name, "1e999")), [(name, "OUT_OF_RANGE")]);
        for bad in ["\"0.5\"", "true", "[]"] {
            assert_eq!(refused_fields(&with(kind, name, bad)), [(name, "INVALID_TYPE")], "{name} {bad}");
        }
    }
    for (raw, is_good) in [("999.994", true), ("-999.994", true), ("999.995", false), ("-999.995", false)] {
        assert_eq!(with("completion", "responseQualityScore", raw) == Verdict::Stored, is_good, "{raw}");
    }
}

#[test]
fn enums_know_their_values_and_no_other() {
    let of = |kind: &str, name: &str| {
        let route = ROUTES.iter().find(|route| route.kind == kind).expect("a kind");
        let field = route.fields().find(|field| field.name == name).expect("a field");
        match field.rule {
            Rule::OneOf(values) => values,
            _ => panic!("{name} is no enum"),
        }
    };
    let table = [
        ("completion", "stopReason", 8, "CONTENT_FILTER"),
        ("completion", "costType", 1, "TEXT_TOKEN_INPUT"),
        ("completion", "operationType", 17, "chat"),
        ("completion", "skipReason", 6, "ERROR_RESPONSE"),
        ("completion", "pricingTier", 2, "batch"),
        ("completion", "skillSource", 4, "PLUGIN"),
        ("completion", "skillKind", 1, "other"),
        ("image", "operationSubtype", 5, "speech"),
        ("image", "skipReason", 4, "QUOTA_EXCEEDED"),
        ("audio", "operationSubtype", 6, "generation"),
        ("audio", "billingUnit", 3, "PER_SECOND"),
        ("video", "operationSubtype", 4, "tts"),
        ("generic", "sourceType", 19, "SDK_RUBY"),
        ("api-request", "sourceType", 19, "sdk_rust"),
    ];
    for (kind, name, values, other) in table {
        assert_eq!(of(kind, name).len(), values, "{name}");
        for value in of(kind, name) {
            assert_eq!(with(kind, name, &format!("\"{value}\"")), Verdict::Stored, "{name} {value}");
        }
        let verdict = with(kind, name, &format!("\"{other}\""));
        assert_eq!(refused_fields(&verdict), [(name, "INVALID_ENUM")], "{name} {other}");
        assert_eq!(refused_fields(&with(kind, name, "7")), [(name, "INVALID_TYPE")]);
    }
    assert_eq!(with("completion", "operationSubtype", "\"function_call\""), Verdict::Stored, "free here");
}

#[test]
fn a_time_is_a_real_one_and_has_a_zone() {
    let good = [
        "2026-11-23T07:44:08Z",
        "2026-11-23T07:44:08.1Z",
        "2026-11-23T07:44:08.123456789Z",
        "2026-11-23T07:44:08+01:00",
        "2028-02-29T23:59:59-11:30",
    ];
    for time in good {
        assert_eq!(with("completion", "requestTime", &format!("\"{time}\"")), Verdict::Stored, "{time}");
    }
    let bad = [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T07:44:08",
        "2026-11-23 07:44:08Z",
        "2026-11-23T07:44Z",
        "2026-02-30T07:44:08Z",
        "2026-11-23T25:44:08Z",
        "2026-11-23T07:44:08.Zx",
        "2026-11-23T07:44:08+0100",
        "2026-11-23t07:44:08z",
        "1795420088",
        "2026-11-23T07:44:08Z[Europe/Berlin]",
    ];
    for time in bad {
        for (kind, name) in [("completion", "responseTime"), ("tool", "timestamp")] {
            let verdict = with(kind, name, &format!("\"{time}\""));
            assert!(matches!(verdict, Verdict::Refused(_)), "{time}");
        }
    }
    assert_eq!(
        refused_fields(&with("completion", "requestTime", "1795420088")),
        [("requestTime", "INVALID_TYPE")]
    );
}

#[test]
fn flags_and_objects_are_what_they_are() {
    for name in ["isStreamed", "hasVisionContent", "billingSkipped", "promptsTruncated"] {
        assert_eq!(with("completion", name, "false"), Verdict::Stored);
        for bad in ["0", "\"true\"", "[]"] {
            assert_eq!(refused_fields(&with("completion", name, bad)), [(name, "INVALID_TYPE")]);
        }
    }
    for (kind, name) in [("completion", "attributes"), ("tool", "usageMetadata"), ("generic", "payload")] {
        assert_eq!(with(kind, name, "{\"a\":[1,{}]}"), Verdict::Stored);
        for bad in ["0", "\"{}\"", "[]"] {
            assert_eq!(refused_fields(&with(kind, name, bad)), [(name, "INVALID_TYPE")]);
        }
    }
    assert_eq!(with("completion", "inputMessages", "\"[{}]\""), Verdict::Stored);
    assert_eq!(
        refused_fields(&with("completion", "inputMessages", "7")),
        [("inputMessages", "INVALID_TYPE")]
    );
}
