//! Every way with every kind of answer, and what may differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::answers::{self, KINDS};
use crate::clients::{By, curl, is_streamed, node, python};
use crate::rust;
use crate::support::Home;

/// Ways, and who meters on each, as its events say.
const WAYS: [(&str, &str); 10] = [
    ("py-create", PACKAGE),
    ("py-async", PACKAGE),
    ("py-stream", PACKAGE),
    ("py-raw", PACKAGE),
    ("rust", "revenium-middleware/"),
    ("gw-python", GATEWAY),
    ("gw-node", GATEWAY),
    ("gw-curl", GATEWAY),
    // Two layers: the one that says so in the request meters, else the one nearer to the provider.
    ("py+gw", PACKAGE),
    ("rust+gw", GATEWAY),
];
const PACKAGE: &str = "revenium-middleware-anthropic/";
const GATEWAY: &str = "revenium-gateway/";

/// The way that all others are compared with.
const FIRST: &str = "py-create";

/// Members that tell the clock's time: they are there in all, and differ.
const OF_THE_CLOCK: [&str; 5] =
    ["requestTime", "completionStartTime", "responseTime", "requestDuration", "timeToFirstToken"];

/// A member that may differ from the first way's.
struct Difference {
    /// Kinds of answers; all, if there are none.
    kinds: &'static [&'static str],
    ways: &'static [&'static str],
    member: &'static str,
    /// What it is there.
    value: &'static str,
    why: &'static str,
}

/// Anthropic's SDKs before a gateway.
const SDKS: &[&str] = &["gw-python", "gw-node"];

/// Who sees bytes, and no exceptions.
const ON_THE_WIRE: &[&str] = &["rust", "gw-python", "gw-node", "gw-curl", "rust+gw"];

const MAY_DIFFER: [Difference; 4] = [
    Difference {
        kinds: &["overloaded"],
        ways: SDKS,
        member: "retryNumber",
        value: "1",
        why: "an SDK tells in a field which of its own tries this is; who is above them sees one call",
    },
    Difference { kinds: &[], ways: SDKS, member: "retryNumber", value: "0", why: "likewise" },
    Difference {
        kinds: &["refused"],
        ways: ON_THE_WIRE,
        member: "errorReason",
        value: "invalid_request_error (HTTP 400)",
        why: "the package names the SDK's class of an error; on the wire there is the provider's word",
    },
    Difference {
        kinds: &["cut"],
        ways: ON_THE_WIRE,
        member: "errorReason",
        value: "cut off before its end",
        why: "likewise; a broken connection has no word of the provider's",
    },
];

/// Events by kind and way.
type Events = BTreeMap<(String, String), Vec<Value>>;

#[tokio::test]
async fn an_answer_gives_the_same_event_whichever_way_it_is_metered() {
    let (home, provider) = (Home::new(), answers::provider());
    let sandbox = home.sandbox(&[]);
    let more = format!("gateway.listen = \"127.0.0.1:0\"\ngateway.provider_url = \"{}\"\n", provider.url());
    home.deliver_to(&sandbox, &more);
    let agent = home.start();
    let gateway = format!("http://{}", agent.ready["gateway"].as_str().expect("is on"));
    let url = provider.url();
    for how in ["create", "async", "stream", "raw"] {
        python(&home, how, By::Package, &url, &format!("py-{how}"));
    }
    rust::calls(&home, &url, "rust", false).await;
    python(&home, "create", By::Gateway, &gateway, "gw-python");
    node(&gateway, "gw-node");
    curl(&gateway, "gw-curl");
    python(&home, "create", By::Both, &gateway, "py+gw");
    rust::calls(&home, &gateway, "rust+gw", true).await;

    let expected: usize = cells().map(|(kind, _, who)| events_of(kind, who)).sum();
    assert_eq!((expected, WAYS.len()), (88, 10), "the README says how many");
    let billed = sandbox.wait_billed(expected);
    agent.stop();
    let mut events = Events::new();
    for body in billed.values() {
        let event: Value = serde_json::from_str(body).expect("JSON");
        let trace = event["traceId"].as_str().unwrap_or_else(|| panic!("no trace: {event}")).to_owned();
        let (kind, way) = trace.split_once('/').expect("kind/way");
        events.entry((kind.to_owned(), way.to_owned())).or_default().push(event);
    }
    for all in events.values_mut() {
        all.sort_by_key(|event| (event["stopReason"] != "ERROR", event["transactionId"].to_string()));
    }
    print(&events);
    let differences = differences(&events);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What there is: a helper for streams has no answer in one piece.
fn cells() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let all = KINDS.iter().flat_map(|(kind, _)| WAYS.iter().map(|(way, who)| (*kind, *way, *who)));
    all.filter(|(kind, way, _)| *way != "py-stream" || is_streamed(kind))
}

/// How many events a cell has: of an advisor's pass there is one more, and a gateway sees each attempt.
fn events_of(kind: &str, who: &str) -> usize {
    1 + usize::from(kind == "passes") + usize::from(kind == "overloaded" && who == GATEWAY)
}

/// An event without the clock's time and the name of its way.
fn common(event: &Value, way: &str) -> BTreeMap<String, Value> {
    let text = event.to_string().replace(&format!("/{way}"), "/WAY").replace(&format!("_{way}"), "_WAY");
    let mut event: BTreeMap<String, Value> = serde_json::from_str(&text).expect("JSON");
    for name in OF_THE_CLOCK {
        event.entry(name.to_owned()).and_modify(|value| *value = Value::Null);
    }
    event
}

fn differences(events: &Events) -> Vec<String> {
    let mut found = Vec::new();
    for (kind, way, who) in cells() {
        let of = |way: &str| -> Vec<_> {
            events[&(kind.to_owned(), way.to_owned())].iter().map(|event| common(event, way)).collect()
        };
        let (first, mut these) = (of(FIRST), of(way));
        if these.len() != events_of(kind, who) {
            found.push(format!("{kind}, {way}: {} events", these.len()));
        }
        if kind == "overloaded" && who == GATEWAY {
            // The attempt that failed has an event of its own, which cost nothing.
            these.retain(|event| event["stopReason"] != "ERROR" || event["inputTokenCount"] != 0);
        }
        for (first, this) in first.iter().zip(&these) {
            let reports = this["middlewareSource"].as_str().expect("is said");
            if !reports.starts_with(who) {
                found.push(format!("{kind}, {way}: metered by {reports}"));
            }
            let names: BTreeSet<_> = first.keys().chain(this.keys()).collect();
            for name in names.into_iter().filter(|name| *name != "middlewareSource") {
                let (first, this) = (first.get(name), this.get(name));
                if first != this && !may_differ(kind, way, name, this) {
                    found.push(format!("{kind}, {way}: {name} is {this:?} and not {first:?}"));
                }
            }
        }
    }
    found
}

fn may_differ(kind: &str, way: &str, member: &str, value: Option<&Value>) -> bool {
    let value = value.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let row = MAY_DIFFER.iter().find(|row| {
        (row.kinds.is_empty() || row.kinds.contains(&kind)) && row.ways.contains(&way) && row.member == member
    });
    row.is_some_and(|row| value.as_deref() == Some(row.value))
}

fn print(events: &Events) {
    let cell = |way: &str, kind: &str| {
        let events = events.get(&(kind.to_owned(), way.to_owned()));
        let outline = |event: &Value| {
            let text = |name: &str| event[name].to_string().replace('"', "");
            format!("{} {}+{}", text("stopReason"), text("inputTokenCount"), text("outputTokenCount"))
        };
        events.map_or("-".to_owned(), |all| all.iter().map(outline).collect::<Vec<_>>().join(", "))
    };
    let mut rows = vec![KINDS.map(|(kind, _)| kind.to_owned()).to_vec()];
    rows.extend(WAYS.map(|(way, _)| KINDS.map(|(kind, _)| cell(way, kind)).to_vec()));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    for (name, row) in [""].into_iter().chain(WAYS.map(|(way, _)| way)).zip(&rows) {
        let cells = row.iter().enumerate().map(|(at, cell)| format!("  {cell:<width$}", width = width(at)));
        println!("{name:<10}{}", cells.collect::<String>());
    }
    println!();
    KINDS.iter().for_each(|(kind, what)| println!("{kind}: {what}"));
    for Difference { member, value, why, .. } in MAY_DIFFER {
        println!("{member} may be {value}: {why}");
    }
}
