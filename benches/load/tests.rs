//! The events, apart from their module: benchmarks have that too, and no tests.

use crate::event::{Kind, Mark, OWN_NAME, caller, mark, write};

#[test]
fn events_are_known_again() {
    for kind in Kind::ALL {
        for (to, callee) in [(Some(2), Some("ben")), (None, None)] {
            let sent = Mark {
                kind,
                from: 1,
                to,
                number: 3,
                sent_at: 4_000_000_000,
            };
            let event = write(sent, callee, 5);
            assert_eq!(mark(&event), Some(sent));
            assert_eq!(caller(&event), Some(OWN_NAME));
            let value: serde_json::Value = serde_json::from_str(&event).unwrap();
            assert_eq!(value["type"], kind.name());
            assert_eq!(value["callee"]["id"].as_str(), callee);
            assert_eq!(value["room"]["id"], "room-5");
        }
    }
    assert_eq!(mark(r#"{"type":"DISCONNECT","caller":{"id":"x"}}"#), None);
}

#[test]
fn events_are_of_the_size_of_real_ones() {
    let size = |kind| {
        let sent = Mark {
            kind,
            from: 0,
            to: Some(1),
            number: 0,
            sent_at: 0,
        };
        write(sent, Some("HjuA7FgHpBJ6BFMPAAAo"), 0).len()
    };
    assert_eq!(size(Kind::Candidate), 363);
    assert_eq!(size(Kind::Offer), 2_732);
    assert!((2_000..2_300).contains(&size(Kind::Answer)));
}
