//! A spool file that anybody may have written: every line is taken, kept as evidence, or leaves the file there.
#![no_main]

mod support;

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use revenium_agent::admin::SpoolStatus;
use revenium_agent::intake::{Allow, Door};
use revenium_agent::spool::{self, Counter, Settings, Standing};
use revenium_agent::tasks::Stop;
use revenium_agent::tenant::Tenants;
use support::{Quiet, Taker};
use tokio::sync::watch;

/// Ends the visits after the first.
struct Once(watch::Sender<bool>);

impl Counter for Once {
    fn taken(&self, _: u64) {}

    fn looked(&self, _: &SpoolStatus) {
        self.0.send_replace(true);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let spool = dir.path().join("spool");
    std::fs::create_dir(&spool).expect("it is made");
    let file = spool.join("abababababababababababababababab-1.jsonl");
    std::fs::write(&file, bytes).expect("it is written");
    let (sender, stop) = Stop::pair();
    let settings = Settings {
        dirs: vec![spool],
        quarantine: dir.path().join("quarantine"),
        quarantine_bytes_max: 64 << 10,
        allow: Allow::default(),
        door: Door::new(Tenants::by_name(["default".into()])),
        batch_lines_max: 4,
        batch_bytes_max: 4 << 10,
    };
    let counter = Arc::new(Once(sender));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let ran = runtime.block_on(spool::run(
        settings,
        Arc::new(Taker),
        Arc::new(Quiet),
        counter,
        Standing::default(),
        stop,
    ));
    assert!(ran.is_ok());
});
