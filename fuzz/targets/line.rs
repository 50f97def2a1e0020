//! The socket's lines and answers: whatever comes is read or refused, and what is written is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use revenium_event::line::{self, Answer, Line};

fuzz_target!(|bytes: &[u8]| {
    match line::parse(bytes) {
        Ok(Line::Hello(hello)) => {
            let mut written = Vec::new();
            hello.write(&mut written);
            assert_eq!(line::parse(written.trim_ascii_end()), Ok(Line::Hello(hello)));
        }
        Ok(Line::Event { n, event }) => {
            assert!(n.is_some() || event.trim_ascii() == bytes.trim_ascii(), "an event is altered")
        }
        Ok(Line::Key(_)) => {}
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
    }
    if let Ok(answer) = Answer::parse(bytes) {
        let mut written = Vec::new();
        answer.write(&mut written);
        assert_eq!(Answer::parse(written.trim_ascii_end()), Ok(answer));
    }
});
