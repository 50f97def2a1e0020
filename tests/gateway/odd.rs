//! Answers and requests that are not as they should be: passed as they are or refused, and metered as far as they can
//! be read.


use crate::gateway::{Gateway, outline};
use crate::provider::{self, Provider, whole};
use crate::support::Home;

const JSON: &str = "content-type: application/json\r\n";

/// What is metered of a call that is answered by this.
fn metered(answer: Vec<u8>) -> Vec<serde_json::Value> {
    let home = Home::new();
    let gateway = Gateway::start(&home, &Provider::saying(answer));
    let mut client = gateway.client();
    client.post("", r#"{"model":"claude-opus-4"}"#);
    assert!(client.answer(false).is_whole);
    gateway.metered(&home)
}

#[test]
fn members_whose_names_are_written_with_escapes_are_metered() {
    let message = provider::message("msg_1", 25, 15).replace("\"usage\"", "\"\\u0075sage\"");
    let events = metered(whole("200 OK", JSON, message.as_bytes()));
    assert_eq!(events.iter().map(outline).collect::<Vec<_>>(), [("msg_1", "END", 25, 15)]);
}

