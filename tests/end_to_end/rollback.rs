//! Back to the release before, and forth again: what one wrote, the other delivers.
//!
//! `REVENIUM_PREVIOUS` names that release's program. Before the second release there is none, and without the variable
//! this program stands for it.

use std::env;
use std::fs;
use std::process::Command;

use revenium_agent::sandbox::What;

use crate::support::{Agent, Home, Line, Producer, completion, until, unused_address};

const EVENTS: u32 = 1_500;

fn previous(home: &Home) -> Agent {
    let named =
        env::var_os("REVENIUM_PREVIOUS").map(|path| fs::canonicalize(path).expect("REVENIUM_PREVIOUS"));
    let program = named.unwrap_or(env!("CARGO_BIN_EXE_revenium-agent").into());
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home.path("")).current_dir(home.path(""));
    let agent = home.launch(command.args(["run", "--config", "config.toml"]));
    agent.wait_for("started");
    agent
}

/// Sends this producer's events, by their numbers.
fn send(home: &Home, producer: u8) {
    Producer::new(producer).run(&home.socket(), EVENTS.into(), 500).expect("durable");
}

#[test]
fn what_a_release_wrote_the_one_before_it_delivers_and_the_other_way_round() {
    let home = Home::new();
    let address = unused_address();
    let deliver = |per_second: u32| {
        home.configure(&format!(
            "profiles.default.url = \"http://{address}\"\ndrain.requests_per_second_max = {per_second}\n"
        ));
    };
    deliver(5_000);

    // This release keeps what it cannot deliver, and what it refused, and is killed.
    let agent = home.start();
    send(&home, 1);
    let mut line = Line::connect(&home.socket());
    assert_eq!(line.ask("{\"model\":7}")["ok"], false, "it becomes a dead letter");
    assert_eq!(line.ask(&completion("without a number"))["ok"], true);
    home.wait_status("the outage is noticed", |status| !status["pace"][0]["note"].is_null());
    agent.kill();

    // The one before delivers half of it, takes more, and is killed.
    let sandbox = home.sandbox_on(&address, &[]);
    deliver(300);
    let agent = previous(&home);
    let half = usize::try_from(EVENTS / 2).expect("few");
    until("half is billed", || sandbox.count(What::Billed), |count| *count >= half);
    send(&home, 2);
    agent.kill();
    let all = usize::try_from(2 * EVENTS).expect("few") + 1;
    assert!(sandbox.count(What::Billed) < all, "nothing is left to deliver");

    // This one delivers the rest, and knows every number again.
    deliver(5_000);
    let agent = home.start();
    sandbox.wait_billed(all);
    send(&home, 1);
    send(&home, 2);
    let status = home.wait_drained();
    assert_eq!(status["profiles"][0]["dead"], 1, "{status}");
    assert_eq!(status["profiles"][0]["delivered"], all, "{status}");
    let known = agent.metric("revenium_agent_events_deduplicated_total");
    assert!((known - f64::from(2 * EVENTS)).abs() < 0.5, "{known} of the numbers were known");
    assert_eq!(sandbox.billed().len(), all, "what was sent again was billed again");
    sandbox.assert_attempts_are_alike();
    agent.stop();
}
