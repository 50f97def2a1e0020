//! The stand-in for Revenium: what goes wrong there, and what it counted.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use revenium_agent::sandbox::{Chance, Class, KINDS, Script, Snapshot, Step};

use crate::dice::Dice;
use crate::stage::DEADLINE;
use crate::support::Sandbox;

/// Faults after which every kind should have happened.
const FAULTS_MANY: u64 = 10_000;

/// How the upstream does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Nothing goes wrong.
    Calm,
    /// Three in ten attempts meet a fault of any kind; one in a hundred refuses its record for good.
    Storm,
    /// Seven in ten attempts meet one that another try cures.
    Gale,
    /// Every attempt fails, stored or not.
    Outage,
}

impl Weather {
    fn script(self, dice: &mut Dice) -> Script {
        let chance = |seed, per_mille, classes: &[Class]| {
            let mut chance = Chance { silence_ms: 1_500, ..Chance::new(seed, per_mille, classes) };
            // A 429 stops the whole account for a second or two: seldom, or little else would happen.
            for (_, weight) in chance.weights.iter_mut().filter(|(kind, _)| !kind.starts_with("429")) {
                *weight *= 4;
            }
            Script { steps: Vec::new(), chance: Some(chance) }
        };
        match self {
            Self::Calm => Script::default(),
            Self::Storm => chance(dice.throw(), 300, &[Class::Transient, Class::Blocking, Class::Refusing]),
            Self::Gale => chance(dice.throw(), 700, &[Class::Transient]),
            Self::Outage => {
                let kinds = ["503", "500-stored", "reset-unread", "reset-stored", "504"];
                let kind = kinds[usize::try_from(dice.between(0..=4)).expect("is small")];
                let mut step = Step::times(1, kind);
                step.times = None;
                Script::steps(vec![step])
            }
        }
    }
}

/// Whether an attempt that met this fault may have been told that its record is refused for good.
pub(crate) fn is_refusing(fault: &str) -> bool {
    KINDS.iter().any(|kind| kind.name == fault && kind.class == Class::Refusing)
}

/// Makes it so, from the next attempt on.
pub(crate) fn set_weather(sandbox: &Sandbox, weather: Weather, dice: &mut Dice) {
    let script = serde_json::to_string(&weather.script(dice)).expect("is JSON");
    ask(sandbox, "POST", "/sandbox/faults", &script);
}

/// Accepts these API keys, each for its account, and no other.
pub(crate) fn set_keys(sandbox: &Sandbox, keys: &[(&str, &str)]) {
    let keys: BTreeMap<_, _> = keys.iter().copied().collect();
    ask(sandbox, "POST", "/sandbox/keys", &serde_json::to_string(&keys).expect("is JSON"));
}

/// What it counted.
pub(crate) fn snapshot(sandbox: &Sandbox) -> Snapshot {
    serde_json::from_str(&ask(sandbox, "GET", "/sandbox/ledger", "")).expect("a snapshot")
}

/// Fails if the upstream was sent anything that a correct sender doesn't send, or a refused key
/// more often than `unauthorized_max`.
pub(crate) fn assert_content(snapshot: &Snapshot, unauthorized_max: u64) {
    let counts = &snapshot.counts;
    for (what, count) in [
        ("repeated", counts.repeated),
        ("mismatched", counts.mismatched),
        ("vanished", counts.vanished),
        ("refused", counts.refused),
        ("without a key", counts.without_key),
        ("without a transactionId", counts.without_transaction_id),
        ("with duplicate members", counts.with_duplicates),
        ("redirects followed", counts.followed_redirects),
        ("beyond the stand-in's detail", counts.detail_dropped),
        ("journal errors", counts.journal_errors),
        ("panics", counts.panics),
        ("windows cut", snapshot.windows_cut),
    ] {
        assert_eq!(count, 0, "{what}");
    }
    let probes = counts.unauthorized;
    assert!(probes <= unauthorized_max, "few probes: {probes}, {unauthorized_max} at most");
    let faults: u64 = snapshot.injected.values().sum();
    let injected: HashSet<&str> = snapshot.injected.keys().map(String::as_str).collect();
    let missing = KINDS.iter().find(|kind| !injected.contains(kind.name));
    assert!(faults < FAULTS_MANY || missing.is_none(), "a fault that never happened: {missing:?}");
}

fn ask(sandbox: &Sandbox, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(sandbox.address()).expect("the stand-in listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("set");
    let head = format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {}\r\n\r\n{body}", body.len()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("has a head");
    assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
    body.to_owned()
}
