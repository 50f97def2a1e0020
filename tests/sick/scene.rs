//! An agent whose way to the upstream is shut at first, its senders by socket and by relay, and what has to hold at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde_json::Value;
use uuid::Uuid;

use crate::caller::Caller;
use crate::dice::{self, Dice};
use crate::event::{Identity, Source};
use crate::gate::Gate;
use crate::oracle::{self, Equals};
use crate::producer::{Book, Producer};
use crate::stage::Stage;
use crate::support::{Agent, Home, Http, KEY, Line, Sandbox, completion, until, unused_address};

/// A store as small as it may be: what is sealed for a failed write soon takes the room of what is to come.
const STORE: &str = "store.capacity_bytes = \"96MiB\"\nstore.free_reserve_bytes = \"1MiB\"\n";
/// Chance begins here, or with the clock.
const SEED: &str = "REVENIUM_SICK_SEED";
/// By numbers, by `transactionId`, and by the relay.
const SENDERS: u64 = 3;

pub(crate) struct Scene {
    /// Its data is in the folder `data`.
    pub(crate) home: Home,
    pub(crate) sandbox: Sandbox,
    /// Between the agent and the sandbox.
    pub(crate) gate: Gate,
    relay: String,
    seed: u64,
    stage: Arc<Stage>,
    senders: Vec<JoinHandle<Book>>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let home = Home::new();
        std::fs::create_dir(home.path("data")).expect("made");
        let relay = unused_address();
        let key = format!("{KEY}=default");
        let args = ["--key", &key, "--rate-limit", "0"];
        let sandbox = Sandbox::start(&home.path("journal"), &args);
        let gate = Gate::shut(sandbox.address());
        // A few wait at the gate; all others have not been tried, so that there is nothing to write of them.
        let more = format!("{STORE}relay.listen = \"{relay}\"\ndrain.in_flight_max = 4\n");
        home.deliver_to_url(&format!("http://{}", gate.address()), &more);
        let seed = dice::seed(SEED);
        let _ = writeln!(io::stderr(), "sick: repeat with {SEED}={seed}");
        let stage = Arc::new(Stage::new([1; 3]));
        Self { home, sandbox, gate, relay, seed, stage, senders: Vec::new() }
    }

    /// Has so many more events sent by each sender. Those that are refused come again until they are durable.
    pub(crate) fn send(&mut self, each: u64) {
        if self.senders.is_empty() {
            self.start_senders();
        }
        self.stage.allow(&[each; 3]);
    }

    /// Waits until all that was sent is durable.
    pub(crate) fn wait_durable(&self) {
        self.stage.wait_quiet();
    }

    /// Has so many stored by each sender, and waits until the index knows them. Returns how many wait.
    pub(crate) fn store(&mut self, each: u64) -> u64 {
        self.send(each);
        self.wait_durable();
        let waiting = SENDERS * each;
        self.home.wait_status("the index knows them", |status| status["profiles"][0]["waiting"] == waiting);
        waiting
    }

    fn start_senders(&mut self) {
        let mut dice = Dice::new(self.seed);
        let id = Uuid::from_u128(u128::from(dice.throw()) << 64 | u128::from(dice.throw()));
        let sources = [
            ("numbered", Identity::Numbered(id)),
            ("named", Identity::Transaction),
            ("relayed", Identity::Key),
        ];
        for (who, (name, identity)) in sources.into_iter().enumerate() {
            let source = Source { name, identity, profile: "default", seed: dice.throw(), filler_bytes: 0 };
            let (stage, dice) = (&self.stage, dice.fork());
            self.senders.push(match identity {
                Identity::Key => Caller::new(who, source, stage, self.relay.clone(), None, dice).start(),
                _ => Producer::new(who, source, stage, self.home.socket(), dice).start(),
            });
        }
    }

    /// Asks by socket and by relay, and fails unless both are refused for now. Returns the codes.
    pub(crate) fn refused(&self) -> [String; 2] {
        let answer = Line::connect(&self.home.socket()).ask(&completion("refused"));
        assert_eq!(answer["ok"], false, "{answer}");
        let of_relay =
            Http::connect(&self.relay).post("/meter/v2/ai/completions", &[], &completion("refused"));
        assert_eq!(of_relay.status, 503, "{of_relay:?}");
        assert!(of_relay.head.contains("retry-after: "), "{of_relay:?}");
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        [word(&answer["code"]), word(&of_relay.body["errors"][0]["code"])]
    }

    /// Fails unless status, health and metrics say that events are refused and why.
    pub(crate) fn assert_said(&self, agent: &Agent) {
        let status = self.home.status();
        assert_eq!(status["health"], "failing", "{status}");
        assert!(status["refusing"].is_string(), "{status}");
        let reason = status["reasons"][0].as_str().unwrap_or_default();
        assert!(reason.starts_with("events are refused: "), "{status}");
        // Metrics are counted together, a moment later.
        for name in ["disk_errors_total", "events_rejected_total{reason=\"disk\"}"] {
            let name = format!("revenium_agent_{name}");
            until(&name, || agent.metric(&name), |count| *count > 0.0);
        }
    }

    /// Waits until all is durable and delivered, stops the agent, and judges it. Returns how senders were
    /// refused meanwhile.
    pub(crate) fn end(mut self, agent: Agent) -> BTreeMap<String, u64> {
        self.stage.wait_quiet();
        let status = self.home.wait_drained();
        assert_eq!(status["refusing"], Value::Null, "{status}");
        let ended = agent.stop();
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        self.stage.finish();
        let senders = std::mem::take(&mut self.senders);
        let books: Vec<Book> = senders.into_iter().map(|sender| sender.join().expect("no panic")).collect();
        let journal = self.sandbox.entries();
        let verdict = oracle::judge(&journal, &books, &Equals { marker: "none", keys: Vec::new() });
        verdict.assert_flawless();
        let sent: u64 = books.iter().map(|book| book.fates.len() as u64).sum();
        assert_eq!(verdict.billed, sent, "each event once: {verdict:?}");
        let profile = &status["profiles"][0];
        let counts = [&status["lost"], &profile["dead"], &profile["delivered"]].map(Value::as_u64);
        assert_eq!(counts, [Some(0), Some(0), Some(sent)], "the ledger counts each once: {status}");
        let mut refusals = BTreeMap::new();
        for (code, count) in books.iter().flat_map(|book| &book.put_off) {
            *refusals.entry(code.clone()).or_default() += count;
        }
        refusals
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Senders that wait for an agent wait in vain.
        if thread::panicking() {
            self.stage.fail();
        }
    }
}
