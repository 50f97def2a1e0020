//! The upstream stores a record, and its answer ends after any of its bytes, closed or reset.
//!
//! What counts is whether a status with its headers came: then a 2xx is a delivery, even if the JSON that it
//! announces breaks off. A 2xx that announces nothing says what it is by its body only, so without a byte
//! of that nobody knows. Before the end of the headers nothing was said at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::stand_in::{Cut, Ending, StandIn};
use crate::support::{Home, Producer, until};

const CREATED: &str = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n{\"id\":\"a\",\"label\":\"event\"}\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{\"id\":\"a\"\r\n1\r\n}\r\n0\r\n\r\n";
const OF_NO_TYPE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"id\":\"a\"}";

/// Whether so much of an answer says that the record was taken.
fn delivers(Cut { answer, bytes, .. }: &Cut) -> bool {
    let head = answer.find("\r\n\r\n").expect("has a head") + 4;
    if *answer == OF_NO_TYPE { *bytes > head } else { *bytes >= head }
}

#[test]
fn an_answer_that_ends_after_any_byte_loses_doubles_and_alters_nothing() {
    let mut cuts = Vec::new();
    for answer in [CREATED, OK, OF_NO_TYPE] {
        for ending in [Ending::Close, Ending::Reset] {
            cuts.extend((0..=answer.len()).map(|bytes| Cut { answer, bytes, ending }));
        }
    }
    let events = cuts.len() as u64;
    let mut producer = Producer::new(1);
    let by_transaction: BTreeMap<String, Cut> =
        (0..).map(|n| producer.transaction(n)).zip(cuts.iter().cloned()).collect();
    let stand_in = StandIn::cutting(by_transaction.clone());
    let home = Home::new();
    home.deliver_to_url(&format!("http://{}", stand_in.address), "drain.backoff_max = \"1s\"\n");
    let agent = home.start();
    producer.run(&home.socket(), events, 64).expect("durable");
    until("every record was tried", || stand_in.attempts().len() as u64, |records| *records == events);
    let status = home.wait_drained();
    let profile = &status["profiles"][0];
    let counts = [&profile["delivered"], &profile["dead"], &status["lost"]].map(Value::as_u64);
    assert_eq!(counts, [Some(events), Some(0), Some(0)], "{status}");
    assert_eq!(agent.stop().code, Some(0));

    let attempts = stand_in.attempts();
    let mut keys = BTreeSet::new();
    for (transaction, cut) in &by_transaction {
        let of_record = &attempts[transaction];
        let (key, body) = &of_record[0];
        assert!(of_record.iter().all(|(k, b)| k == key && b == body), "{cut:?}: {of_record:?}");
        assert!(!key.is_empty() && keys.insert(key), "{cut:?}: the key of another: {key}");
        assert_eq!(of_record.len(), if delivers(cut) { 1 } else { 2 }, "attempts after {cut:?}");
    }
    let again = attempts.values().filter(|of_record| of_record.len() > 1).count();
    eprintln!("{events} answers cut, {again} records sent again");
}
