//! Bodies recorded from Revenium's official SDKs go through unchanged, byte for byte.

use std::fs;
use std::path::Path;

use crate::support::{self, MINTED};
use revenium_event::{Identity, Kind, freeze, freeze_body};

#[test]
fn what_the_official_sdks_send_is_not_touched() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the fixtures are there") {
        let path = entry.expect("the folder can be read").path();
        let sent = fs::read(&path).expect("the fixture can be read");
        let frozen = freeze(&sent, &Identity::Body, &MINTED).expect("an official body is taken");
        assert_eq!(frozen.body, sent, "{}", path.display());
        assert_eq!(frozen.kind, Kind::Completion);
        assert_eq!(frozen.warnings, []);
        assert!(frozen.key_is_identity);
        count += 1;
    }
    assert!(count >= 15, "only {count} fixtures");
}

#[test]
fn a_body_for_a_route_keeps_members_that_would_route_an_event() {
    let completion = support::BASES[0];
    let ours = r#""kind":"tool","profile":[1],"n":"x","hello":{},"call":null"#;
    let event = support::with(completion, ours);
    let frozen = freeze_body(Kind::Completion, event.as_bytes(), &Identity::Body, &MINTED).expect("is taken");
    assert_eq!(support::body(&frozen), event);
    assert_eq!(
        (frozen.kind, frozen.profile.as_deref(), &frozen.warnings[..]),
        (Kind::Completion, None, &[][..])
    );
    for base in support::BASES {
        let event = support::with(base, "");
        let kind = support::frozen(&event).kind;
        let frozen = freeze_body(kind, event.as_bytes(), &Identity::Body, &MINTED).expect("is taken");
        assert_eq!(support::body(&frozen), event);
    }
}

#[test]
fn a_body_of_every_kind_that_lacks_nothing_only_loses_its_kind() {
    for base in support::BASES {
        let event = support::with(base, "");
        let frozen = support::frozen(&event);
        let kind = format!("\"kind\":\"{}\",", frozen.kind);
        assert_eq!(support::body(&frozen), event.replacen(&kind, "", 1));
        assert_eq!(frozen.warnings, []);
    }
}
