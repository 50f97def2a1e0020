//! Bytes that change behind the agent's back, and a folder that vanishes.
//!
//! Each test fills the log while nothing listens upstream, stops the agent, damages what it left,
//! and starts it again with an upstream that works.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Agent, Home, Producer, Sandbox, names, unused_address};

const EVENTS: u64 = 400;
/// Outstanding together, and so about as many in one chunk of the log.
const WINDOW: u64 = 20;

/// A stopped agent whose log holds events, and where they will be sent.
fn filled() -> (Home, String) {
    let home = Home::new();
    let address = unused_address();
    home.deliver_to_url(&format!("http://{address}"), "");
    let agent = home.start();
    Producer::new(1).run(&home.socket(), EVENTS, WINDOW).expect("durable");
    home.wait_status("the index has them", |status| status["profiles"][0]["waiting"] == EVENTS);
    assert_eq!(agent.stop().code, Some(0));
    (home, address)
}

fn store(home: &Home) -> PathBuf {
    home.path("data").join("store")
}

fn start(home: &Home, address: &str) -> (Agent, Sandbox, Value) {
    let sandbox = home.sandbox_on(address, &[]);
    let agent = home.start();
    let status = home.wait_drained();
    (agent, sandbox, status)
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 0x20], at).expect("written");
}

/// The first place of `bytes` in a file.
fn find(path: &Path, bytes: &[u8]) -> Option<u64> {
    let content = fs::read(path).expect("read");
    content.windows(bytes.len()).position(|window| window == bytes).map(|at| at as u64)
}

#[test]
fn a_flipped_byte_in_a_segment_costs_its_chunk_which_is_counted() {
    let (home, address) = filled();
    let victim = Producer::new(1).transaction(EVENTS / 2);
    let segments: Vec<_> = names(&store(&home)).into_iter().filter(|name| name.starts_with("seg-")).collect();
    let (path, at) = segments
        .iter()
        .map(|name| store(&home).join(name))
        .find_map(|path| find(&path, victim.as_bytes()).map(|at| (path, at)))
        .expect("a segment holds it");
    flip(&path, at);
    let (agent, sandbox, status) = start(&home, &address);
    let lost = status["lost"].as_u64().expect("a count");
    assert!((1..=WINDOW).contains(&lost), "{status}");
    assert_eq!(status["damaged_regions"], 1);
    assert_eq!(status["profiles"][0]["delivered"], EVENTS - lost, "{status}");
    sandbox.wait_billed(usize::try_from(EVENTS - lost).expect("few"));
    assert!(status["quarantine_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "the evidence is kept");
    assert_eq!(status["health"], "degraded");
    agent.stop();
}

#[test]
fn flipped_bytes_in_sleds_files_lose_nothing() {
    for place in [1, 2, 3] {
        let (home, address) = filled();
        let index = index(&home);
        for name in ["db", "conf"] {
            let path = index.join(name);
            let bytes = fs::metadata(&path).expect("sled has it").len();
            // sled's file is mostly empty at its end.
            let used = if name == "db" { bytes.min(64 << 10) } else { bytes };
            flip(&path, used * place / 4);
        }
        let (agent, sandbox, status) = start(&home, &address);
        assert_eq!(
            (&status["lost"], &status["profiles"][0]["delivered"]),
            (&0.into(), &EVENTS.into()),
            "{status}"
        );
        sandbox.wait_billed(usize::try_from(EVENTS).expect("few"));
        agent.stop();
    }
}

#[test]
fn sleds_folder_deleted_is_made_anew_from_the_log() {
    let (home, address) = filled();
    fs::remove_dir_all(index(&home)).expect("removed");
    let (agent, sandbox, status) = start(&home, &address);
    assert_eq!(
        (&status["lost"], &status["profiles"][0]["delivered"]),
        (&0.into(), &EVENTS.into()),
        "{status}"
    );
    assert_eq!(agent.metric("revenium_agent_index_rebuilds_total"), 1.0);
    sandbox.wait_billed(usize::try_from(EVENTS).expect("few"));
    agent.stop();
}

fn index(home: &Home) -> PathBuf {
    let name = names(&store(home)).into_iter().find(|name| name.starts_with("index-"));
    store(home).join(name.expect("there is an index"))
}

#[test]
fn a_log_of_a_newer_format_is_left_alone() {
    let (home, address) = filled();
    let store = store(&home);
    let newest = names(&store)
        .into_iter()
        .filter(|name| name.starts_with("seg-"))
        .map(|name| store.join(name))
        .find(|path| fs::read(path).expect("read").starts_with(b"RV"))
        .expect("a segment in use");
    let before = fs::read(&newest).expect("read");
    let mut header = before[..128].to_vec();
    header[8] = 2;
    let crc = crc32c(&header[..124]);
    header[124..].copy_from_slice(&crc.to_le_bytes());
    let write = |bytes: &[u8]| {
        let file = fs::OpenOptions::new().write(true).open(&newest).expect("opens");
        file.write_all_at(bytes, 0).expect("written");
    };
    write(&header);
    let ended = home.run(&["run"]);
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("the log has format 2, this release reads up to 1"), "{}", ended.stderr);
    write(&before[..128]);
    let (agent, sandbox, _) = start(&home, &address);
    sandbox.wait_billed(usize::try_from(EVENTS).expect("few"));
    agent.stop();
}

/// CRC-32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1)))
    })
}
