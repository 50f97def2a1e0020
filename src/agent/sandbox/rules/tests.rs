//! Every rule at its limit and one past it.

use serde_json::{Map, Value, json};

use super::*;

/// The smallest body that each route takes, in the order of [`ROUTES`].
fn smallest(kind: &str) -> Map<String, Value> {
    let media = json!({"model": "m", "provider": "p", "requestDuration": 3000,
        "requestTime": "2026-11-23T10:00:00Z", "responseTime": "2026-11-23T10:00:03Z", "transactionId": "tx-1"});
    let with = |mut base: Value, more: Value| {
        base.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        base
    };
    let body = match kind {
        "completion" => json!({"model": "claude-sonnet-4-20250514", "provider": "ANTHROPIC",
            "inputTokenCount": 25, "outputTokenCount": 15, "totalTokenCount": 40,
            "requestTime": "2026-11-23T07:44:07.120Z", "completionStartTime": "2026-11-23T07:44:08.010Z",
            "responseTime": "2026-11-23T07:44:08.263Z", "requestDuration": 1143, "stopReason": "END"}),
        "image" => with(media, json!({"requestedImageCount": 2, "actualImageCount": 2})),
        "audio" => with(media, json!({"durationSeconds": 12.5})),
        "video" => with(media, json!({"durationSeconds": 4})),
        "tool" => json!({"transactionId": "1a8cdc99-9737-4cc6-a43c-61f14ae57eb9",
            "toolId": "customer-database", "timestamp": "2026-11-23T07:44:33Z"}),
        "generic" => json!({"payload": {"storageGB": 15.5}, "transactionId": "ev-1"}),
        "api-request" => json!({"transactionId": "api-1"}),
        "api-response" => json!({"transactionId": "api-1", "responseCode": 200}),
        other => panic!("no such kind: {other}"),
    };
    body.as_object().expect("an object").clone()
}

fn judge_body(kind: &str, body: &str) -> Verdict {
    let route = ROUTES.iter().find(|route| route.kind == kind).expect("a kind");
    judge(route, &Members::parse(body.as_bytes()).expect("an object"))
}

/// The verdict on the smallest body of `kind` with `raw` as the value of `name`.
fn with(kind: &str, name: &str, raw: &str) -> Verdict {
    let mut body = smallest(kind);
    body.remove(name);
    let rest = serde_json::to_string(&body).expect("JSON");
    let comma = if body.is_empty() { "" } else { "," };
    judge_body(kind, &format!("{{\"{name}\":{raw}{comma}{}", &rest[1..]))
}

fn text(chars: usize) -> String {
    format!("\"{}\"", "\u{e9}".repeat(chars))
}

fn refused_fields(verdict: &Verdict) -> Vec<(&str, &str)> {
    match verdict {
        Verdict::Refused(errors) => errors.iter().map(|error| (error.field.as_str(), error.code)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_smallest_body_of_every_route_is_stored() {
    for route in &ROUTES {
        let body = serde_json::to_string(&smallest(route.kind)).expect("JSON");
        assert_eq!(judge_body(route.kind, &body), Verdict::Stored, "{}", route.kind);
    }
}

#[test]
fn every_required_field_is_asked_for_by_name() {
    for route in &ROUTES {
        let required: Vec<_> = route.fields().filter(|field| field.is_required).collect();
        for field in required {
            let mut body = smallest(route.kind);
            assert!(body.remove(field.name).is_some(), "{} has {}", route.kind, field.name);
            let without = judge_body(route.kind, &serde_json::to_string(&body).expect("JSON"));
            assert_eq!(refused_fields(&without), [(field.name, "REQUIRED")], "{}", route.kind);
            let null = with(route.kind, field.name, "null");
            assert_eq!(refused_fields(&null), [(field.name, "REQUIRED")], "{}", route.kind);
        }
    }
    assert_eq!(refused_fields(&with("completion", "model", "\" \"")), [("model", "REQUIRED")]);
}

#[test]
fn the_required_fields_are_the_documented_ones() {
    let required = |kind: &str| {
        let route = ROUTES.iter().find(|route| route.kind == kind).expect("a kind");
        let mut names: Vec<_> = route.fields().filter(|f| f.is_required).map(|f| f.name).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let media = "model provider requestDuration requestTime responseTime transactionId";
    let table = [
        (
            "completion",
            "completionStartTime inputTokenCount model outputTokenCount provider requestDuration \
             requestTime responseTime stopReason totalTokenCount",
        ),
        (
            "image",
            "actualImageCount model provider requestDuration requestTime requestedImageCount \
             responseTime transactionId",
        ),
        ("audio", media),
        ("video", "durationSeconds model provider requestDuration requestTime responseTime transactionId"),
        ("tool", "timestamp toolId transactionId"),
        ("generic", "payload transactionId"),
        ("api-request", "transactionId"),
        ("api-response", "responseCode transactionId"),
    ];
    for (kind, names) in table {
        assert_eq!(required(kind), names, "{kind}");
    }
}

#[test]
fn every_optional_field_may_be_null_and_unknown_fields_are_ignored() {
    for route in &ROUTES {
        for field in route.fields().filter(|field| !field.is_required) {
            let is_of_a_choice = route.one_of.contains(&field.name);
            let verdict = with(route.kind, field.name, "null");
            assert!(is_of_a_choice || verdict == Verdict::Stored, "{} {}", route.kind, field.name);
        }
        assert_eq!(with(route.kind, "brandNew", "[1]"), Verdict::Stored);
    }
    let null = |name| with("completion", name, r#"{"id":null,"email":null,"credential":null}"#);
    assert_eq!(null("subscriber"), Verdict::Stored);
}

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
fn a_tool_event_has_a_uuid() {
    for (raw, is_good) in [
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb9", true),
        ("1A8CDC99-9737-4CC6-A43C-61F14AE57EB9", true),
        ("1a8cdc9997374cc6a43c61f14ae57eb9", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57eb9a", false),
        ("1a8cdc99-9737-4cc6-a43c-61f14ae57ebg", false),
        ("msg_01", false),
    ] {
        let verdict = with("tool", "transactionId", &format!("\"{raw}\""));
        assert_eq!(verdict == Verdict::Stored, is_good, "{raw}");
    }
    assert_eq!(with("completion", "transactionId", "\"msg_01\""), Verdict::Stored);
}

#[test]
fn audio_has_a_duration_or_a_number_of_characters() {
    let mut body = smallest("audio");
    body.remove("durationSeconds");
    let without = judge_body("audio", &serde_json::to_string(&body).expect("JSON"));
    assert_eq!(refused_fields(&without), [("durationSeconds", "REQUIRED")]);
    body.insert("characterCount".to_owned(), json!(7));
    assert_eq!(judge_body("audio", &serde_json::to_string(&body).expect("JSON")), Verdict::Stored);
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

#[test]
fn every_breach_is_named_at_once_and_a_refusal_goes_before_vanishing() {
    let body = json!({"model": "", "speed": "too fast!", "productName": "p".repeat(225)});
    let verdict = judge_body("completion", &body.to_string());
    let fields = refused_fields(&verdict);
    assert_eq!(fields.len(), 11, "ten required and one guard: {fields:?}");
    assert!(fields.contains(&("speed", "INVALID_VALUE")) && fields.contains(&("model", "REQUIRED")));
}

#[test]
fn a_refusal_tells_back_a_bounded_part_of_the_value() {
    let Verdict::Refused(errors) = with("completion", "effort", &text(1_000)) else { panic!("refused") };
    assert_eq!(errors[0].value.as_deref().map(|value| value.chars().count()), Some(VALUE_CHARS_MAX));
}

#[test]
fn routes_are_exact() {
    assert_eq!(route("/meter/v2/ai/audio").map(|route| route.kind), Some("audio"));
    for path in ["/meter/v2/ai/audio/", "/v2/ai/audio", "/meter/v2/ai", "", "/meter/v2/ai/completions/batch"]
    {
        assert!(route(path).is_none(), "{path}");
    }
}

/// Bodies that the official Python SDK was recorded sending.
#[test]
fn what_an_official_sdk_sends_is_stored() {
    let full = r#"{"completionStartTime":"2026-11-23T07:44:08Z","costType":"AI","inputTokenCount":25,"isStreamed":false,"model":"claude-3-haiku-20240307","outputTokenCount":15,"provider":"ANTHROPIC","requestDuration":143,"requestTime":"2026-11-23T07:44:07Z","responseTime":"2026-11-23T07:44:08Z","stopReason":"END","totalTokenCount":40,"transactionId":"msg_01FAKE0001","agent":"support-agent","cacheCreation1hTokenCount":0,"cacheCreation5mTokenCount":0,"cacheCreationTokenCount":0,"cacheReadTokenCount":0,"inputTokenCost":null,"middlewareSource":"PYTHON","modelSource":"ANTHROPIC","operationType":"CHAT","organizationName":"acme-corp","outputTokenCost":null,"productName":"support-bot","reasoningTokenCount":0,"responseQualityScore":0.92,"subscriber":{"id":"user-1234","email":"user@example.com","credential":{"name":"engineering-api-key","value":"cred-value-1"}},"subscriptionId":"pro-plan-Q1","taskType":"customer-support","timeToFirstToken":143,"totalCost":null,"traceId":"conv-28a7e9d4","environment":null,"operationSubtype":null,"parentTransactionId":null,"region":null,"retryNumber":0,"traceName":null,"ticketId":null,"agentVersion":null,"traceType":null,"transactionName":"customer-support","systemPrompt":null,"inputMessages":null,"outputResponse":null,"promptsTruncated":null}"#;
    assert_eq!(judge_body("completion", full), Verdict::Stored);
    let tool = r#"{"transactionId":"1a8cdc99-9737-4cc6-a43c-61f14ae57eb9","toolId":"customer-database","operation":"lookup","durationMs":0,"success":true,"timestamp":"2026-11-23T07:44:33Z","usageMetadata":{"plan":"Enterprise"},"agent":"support-bot","organizationName":"AcmeCorp","productName":"bot","subscriberCredential":"cred-1","workflowId":"wf-1","traceId":"t-1"}"#;
    assert_eq!(judge_body("tool", tool), Verdict::Stored);
    let event = r#"{"payload":{"storageGB":15.5,"apiCalls":1250},"sourceType":"SDK_RUST","transactionId":"ev-1","subscriberCredential":"cust-1"}"#;
    assert_eq!(judge_body("generic", event), Verdict::Stored);
}
