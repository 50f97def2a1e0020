//! The file system stands still, as under a snapshot or behind a storage that hangs, and goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use revenium_agent::sandbox::What;
use revenium_emitter::{Emitted, Emitter, Event};

use crate::device::Device;
use crate::support::{Home, Line, completion, until};

const EVENTS: u64 = 300;
const LONG: Duration = Duration::from_secs(60);

fn event(id: &str) -> Event {
    Event::completion("m").provider("Anthropic").input_tokens(25).output_tokens(15).field("testId", id)
}

#[test]
fn a_file_system_that_stands_still_holds_up_no_application_and_acknowledges_nothing() {
    let home = Home::new();
    std::fs::create_dir(home.path("data")).expect("made");
    let Some(device) = Device::mount(&home.path("image"), &home.path("data")) else { return };
    let sandbox = home.sandbox(&[]);
    home.deliver_to(&sandbox, "store.capacity_bytes = \"96MiB\"\nstore.free_reserve_bytes = \"1MiB\"\n");
    let agent = home.start();
    // The spool is not on what is frozen.
    let emitter = Emitter::builder().socket(home.socket()).spool(home.path("spool")).build();
    emitter.emit_durable(event("before"), LONG).expect("durable");
    sandbox.wait_billed(1);
    let mut line = Line::connect(&home.socket());

    let frozen = device.freeze();
    line.send(format!("{}\n", completion("line")).as_bytes());
    let mut emitted = BTreeSet::from(["before".to_owned()]);
    for i in 0..EVENTS {
        let id = format!("still-{i}");
        let how = emitter.emit(event(&id));
        assert!(matches!(how, Emitted::Sent | Emitted::Queued), "{how:?}");
        emitted.insert(id);
    }
    // Nothing is acknowledged, so a flush puts all of it where it can.
    let report = emitter.flush(Duration::from_secs(1));
    assert!(report.is_complete() && report.spooled > 0, "{report:?}");
    assert!(!line.has_answer(), "nothing is acknowledged that is not flushed");
    assert_eq!(emitter.stats().durable, 1, "{:?}", emitter.stats());
    frozen.thaw();

    assert_eq!(line.answer().expect("answered")["ok"], true);
    until("all is billed", || sandbox.count(What::Billed), |count| *count > emitted.len());
    until("the spool is taken in", || crate::support::spool_files(&home.path("spool")), Vec::is_empty);
    home.wait_drained();
    let bodies = sandbox.billed().into_values();
    let ids = bodies.filter_map(|body| {
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        body["testId"].as_str().map(str::to_owned)
    });
    let ids: Vec<String> = ids.collect();
    assert_eq!(ids.len(), emitted.len(), "each once");
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), emitted);
    sandbox.assert_attempts_are_alike();
    assert_eq!(agent.stop().code, Some(0));
}
