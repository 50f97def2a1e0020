//! Members cut out of an event and put into it: the others stay byte for byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use revenium_event::{Kind, compact, laid_out, masked, transaction_id, with_kind, without_transaction_id};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = masked(text);
    let (packed, lines) = (compact(text), laid_out(text));
    if serde_json::from_str::<Value>(text).is_err() {
        return;
    }
    let is_object = text.trim_ascii().starts_with('{');
    assert_eq!(compact(&lines), packed, "laying out alters it");
    assert!(serde_json::from_str::<Value>(&masked(text)).is_ok(), "masking breaks it");
    for kind in Kind::ALL {
        match without_transaction_id(bytes, kind) {
            Ok(without) => assert_eq!(transaction_id(&without, kind), None),
            Err(_) => assert!(!is_object || transaction_id(bytes, kind).is_none()),
        }
        if let Ok(with) = with_kind(bytes, kind) {
            let with = String::from_utf8(with).expect("UTF-8");
            let of = compact(&with);
            let added = of.strip_prefix(packed.strip_suffix('}').expect("an object"));
            assert!(added.is_some(), "more than a member at the end: {of}");
        }
    }
});
