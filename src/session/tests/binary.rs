//! Events with attachments, in and out.

use super::*;
use crate::signal::Attachments;

fn assembled(
    ack: Option<&'static str>,
    data: &'static str,
    attachments: &[&'static [u8]],
) -> Event<'static> {
    Event::Packet(Incoming {
        sender: Presence::main(id()),
        ack: ack.map(Cow::Borrowed),
        data: Cow::Borrowed(data),
        attachments: Some(attachments.iter().map(|part| Bytes::from(*part)).collect()),
    })
}

impl Client {
    fn sends<'a>(&mut self, link: Link, data: &'a [u8]) -> Option<Event<'a>> {
        self.session.handle_binary(link, data, self.now)
    }
}

#[test]
fn an_event_is_whole_with_its_last_attachment() {
    for (revision, parts) in [(V3, [&[4, 1, 2][..], &[4]]), (V4, [&[1, 2][..], &[]])] {
        let (mut client, link) = Client::socket(revision);
        assert_eq!(client.says(link, r#"452-7["message",{}]"#), None);
        assert_eq!(client.sends(link, parts[0]), None);
        let whole = Some(assembled(Some("7"), r#"["message",{}]"#, &[&[1, 2], &[]]));
        assert_eq!(client.sends(link, parts[1]), whole);
        // And it is over with it.
        assert!(client.says(link, "42[1]").is_some());
        assert_eq!(client.ending(), None);
    }
}

#[test]
fn attachments_may_come_as_base64() {
    for (revision, part) in [(V3, "b4AQID"), (V4, "bAQID")] {
        let (mut client, link) = Client::socket(revision);
        assert_eq!(client.says(link, "451-[1]"), None);
        assert_eq!(
            client.says(link, part),
            Some(assembled(None, "[1]", &[&[1, 2, 3]]))
        );
        let mut client = Client::polling(revision);
        assert_eq!(client.posts("451-[1]"), None);
        assert_eq!(
            client.posts(part),
            Some(assembled(None, "[1]", &[&[1, 2, 3]]))
        );
    }
}

#[test]
fn a_binary_event_may_have_no_attachments() {
    let (mut client, link) = Client::socket(V4);
    assert_eq!(
        client.says(link, "450-[1]"),
        Some(assembled(None, "[1]", &[]))
    );
}

#[test]
fn heartbeats_may_come_between_attachments() {
    let (mut client, link) = Client::socket(V3);
    client.says(link, "451-[1]");
    assert_eq!(client.says(link, "2"), None);
    assert_eq!(client.hears(link), ["3"]);
    assert_eq!(
        client.sends(link, &[4, 9]),
        Some(assembled(None, "[1]", &[&[9]]))
    );
}

#[test]
fn what_is_too_large_is_dropped_and_told() {
    let limits = Limits {
        max_message: 10,
        ..Limits::default()
    };
    let (mut client, link) = Client::socket_with(V4, false, limits);
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    let whole = Some(assembled(None, "[1]", &[&[0; 3], &[0; 4]]));
    client.says(link, "452-[1]");
    assert_eq!(client.sends(link, &[0; 3]), None);
    assert_eq!(client.sends(link, &[0; 4]), whole, "the maximum itself");

    client.says(link, "452-3[1]");
    assert_eq!(client.sends(link, &[0; 5]), None);
    let too_large = Event::TooLarge {
        sender: Presence::main(id()),
        ack: Some("3".to_owned()),
        data: "[1]".to_owned(),
        announced: 2,
    };
    assert_eq!(client.sends(link, &[0; 3]), Some(too_large));
    assert!(client.says(link, "42[1]").is_some(), "it lives on");
}

#[test]
fn what_nobody_wants_is_swallowed_with_its_attachments() {
    // An ack that nobody asked for, and an event of one who has left.
    for packet in ["462-1[1]", "452-[1]"] {
        let (mut client, link) = Client::socket(V3);
        if packet.starts_with("45") {
            client.leaves(link, "41", &Presence::main(id()));
        }
        assert_eq!(client.says(link, packet), None);
        assert_eq!(client.sends(link, &[4, 1]), None);
        assert_eq!(client.sends(link, &[4, 2]), None);
        assert_eq!(client.ending(), None, "{packet}");
        client.sends(link, &[4, 3]);
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
    }
}

#[test]
fn what_is_out_of_place_ends_the_session() {
    let cases: [fn(&mut Client, Link); 4] = [
        // Not announced.
        |client, link| assert_eq!(client.sends(link, &[4, 1]), None),
        |client, link| assert_eq!(client.says(link, "b4AQID"), None),
        // Text while an attachment is due.
        |client, link| {
            client.says(link, "451-[1]");
            assert_eq!(client.says(link, "42[1]"), None);
        },
        // More than may be announced.
        |client, link| assert_eq!(client.says(link, "4511-[1]"), None),
    ];
    for case in cases {
        let (mut client, link) = Client::socket(V3);
        case(&mut client, link);
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
    }
    let (mut client, link) = Client::socket(V3);
    client.says(link, "451-[1]");
    assert_eq!(client.sends(link, &[2, 1]), None, "not a message");
    assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
}

/// Two attachments; the text refers to the second one first, and twice.
fn signal() -> Signal {
    let text = r#"452-["message",{"payload":[1,0,1]}]"#;
    let attachments = Attachments {
        parts: vec![Bytes::from_static(&[1]), Bytes::from_static(&[2])],
        placeholders: vec![1, 0, 1],
    };
    Signal::from_parts(text.into(), 15..34, Some(Arc::new(attachments)))
}

#[test]
fn attachments_go_out_as_each_wire_has_them() {
    let packet = r#"452-["message",{"payload":[1,0,1]}]"#;
    let (v3, v4, json) = (Client::socket(V3), Client::socket(V4), Client::json());
    for ((mut client, link), heard) in [
        (v3, &[packet, "[4, 1]", "[4, 2]"][..]),
        (v4, &[packet, "[1]", "[2]"]),
        (json, &[r#"{"payload":[1,0,1]}"#, "[2]", "[1]", "[2]"]),
    ] {
        client.session.push_signal(&signal());
        assert_eq!(client.hears(link), heard);
    }
}

#[test]
fn who_cannot_take_binary_is_sent_base64() {
    let (mut client, link) = Client::socket_with(V3, true, Limits::default());
    client.hears(link);
    client.session.push_signal(&signal());
    assert_eq!(client.hears(link)[1..], ["b4AQ==", "b4Ag=="]);

    let mut client = Client::polling_with(V3, true, Limits::default());
    client.session.first_answer(false);
    client.session.push_signal(&signal());
    assert!(client.polls().ends_with("6:b4AQ==6:b4Ag=="));

    let mut client = Client::polling(V4);
    client.session.push_signal(&signal());
    assert!(client.polls().ends_with("\x1ebAQ==\x1ebAg=="));
}

#[test]
fn a_poll_is_binary_only_if_it_must_and_may() {
    let poll = |client: &mut Client, base64| {
        client.session.push_signal(&signal());
        let ticket = client.gets();
        match client.session.poll_answer(ticket, base64, Waker::noop()) {
            Poll::Ready(Ok(PollAnswer(payload))) => payload,
            _ => panic!("there is something to say"),
        }
    };
    let mut client = Client::polling(V3);
    let payload = poll(&mut client, false);
    assert!(payload.binary);
    assert!(payload.body.ends_with(&[1, 2, 255, 4, 1, 1, 2, 255, 4, 2]));
    let payload = poll(&mut client, true);
    assert!(!payload.binary, "a JSONP answer cannot carry it");
    assert!(payload.body.ends_with(b"6:b4AQ==6:b4Ag=="));
    client.mail("4a");
    assert_eq!(client.polls(), "2:4a");
}

#[test]
fn a_websocket_may_say_for_itself_that_it_takes_no_binary() {
    let mut client = Client::polling(V3);
    let link = client.session.open_probe(true, client.now);
    client.says(link, "5");
    client.session.push_signal(&signal());
    assert_eq!(client.hears(link)[1..], ["b4AQ==", "b4Ag=="]);
}
