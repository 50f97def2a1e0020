//! Who sends in a storm: producers by every way in, each with events of its own.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use uuid::Uuid;

use crate::call;
use crate::caller::Caller;
use crate::dice::Dice;
use crate::event::{Identity, Source};
use crate::gateway::Client;
use crate::keeper::Keeper;
use crate::producer::{Book, Producer};
use crate::stage::Stage;
use crate::support::{Home, OTHER_KEY};

/// By which way a producer's events come in.
#[derive(Debug, Clone, Copy)]
enum Way {
    Line,
    Relay,
    Emitter,
    Gateway,
    Python,
}

impl Way {
    /// How much longer an event takes than a line, about: a call is a connection, or much Python.
    fn is_slower_by(self) -> u64 {
        match self {
            Self::Line | Self::Relay | Self::Emitter => 1,
            Self::Gateway => 4,
            Self::Python => 16,
        }
    }
}

/// Starts them all; they wait for the stage.
pub(crate) fn start(home: &Home, relay: &str, dice: &mut Dice) -> (Arc<Stage>, Vec<JoinHandle<Book>>) {
    let mut id = || Uuid::from_u128(u128::from(dice.throw()) << 64 | u128::from(dice.throw()));
    let mut sources = vec![
        ("first", Way::Line, Identity::Numbered(id()), "default"),
        ("second", Way::Line, Identity::Numbered(id()), "other"),
        ("third", Way::Line, Identity::Transaction, "default"),
        ("fourth", Way::Line, Identity::Transaction, "other"),
        ("fifth", Way::Line, Identity::None, "default"),
        ("sixth", Way::Relay, Identity::Key, "default"),
        ("seventh", Way::Relay, Identity::Key, "other"),
        ("eighth", Way::Relay, Identity::Key, "default"),
        ("ninth", Way::Emitter, Identity::Emitted, "default"),
        ("tenth", Way::Emitter, Identity::Emitted, "other"),
        ("eleventh", Way::Gateway, Identity::Called, "default"),
    ];
    let python = python();
    if python.is_some() {
        sources.push(("twelfth", Way::Python, Identity::Called, "default"));
    }
    let provider = call::provider();
    let stage = Arc::new(Stage::new(sources.iter().map(|(_, way, ..)| way.is_slower_by())));
    let start = |(who, (name, way, identity, profile))| {
        let source = Source { name, identity, profile, seed: dice.throw(), filler_bytes: 0 };
        let dice = dice.fork();
        match way {
            Way::Line => Producer::new(who, source, &stage, home.socket(), dice).start(),
            Way::Relay => {
                // The default's key changes in the agent, and a client's would not; without one it is the default.
                let api_key = (profile == "other").then_some(OTHER_KEY);
                Caller::new(who, source, &stage, relay.to_owned(), api_key, dice).start()
            }
            Way::Emitter => Keeper::new(who, source, &stage, home, dice).start(),
            Way::Gateway => Client::new(who, source, &stage, home, &provider.url(), dice).start(),
            Way::Python => {
                let python = python.as_deref().expect("is among the sources if it is there");
                Keeper::new_python(who, source, &stage, home, (python, &provider.url()), dice).start()
            }
        }
    };
    let producers = sources.into_iter().enumerate().map(start).collect();
    (stage, producers)
}

/// An interpreter that has Anthropic's SDK. `tests/run.sh` makes it; without one the storm goes on, and says so.
fn python() -> Option<PathBuf> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/sdk/bin/python");
    if python.is_file() {
        return Some(python);
    }
    let what = "no application in Python: tests/run.sh installs what it needs in target/tools/sdk";
    let _ = writeln!(io::stderr(), "crash storm: {what}");
    None
}
