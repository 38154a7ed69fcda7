//! What is said first, and who becomes a peer.

use super::*;

fn event<'a>(ack: Option<&'a str>, data: &'a str) -> Event<'a> {
    event_of(id(), ack, data)
}

fn event_of<'a>(sender: PeerId, ack: Option<&'a str>, data: &'a str) -> Event<'a> {
    Event::Packet(Incoming {
        sender: Presence::main(sender),
        ack: ack.map(Cow::Borrowed),
        data: Cow::Borrowed(data),
        attachments: None,
    })
}

#[test]
fn revision_3_is_let_in_unasked() {
    let mut client = Client::polling_with(V3, false, Limits::default());
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(
        text(client.session.first_answer(false)),
        format!(
            r#"97:0{{"sid":"{SID}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}}2:40"#
        )
    );
    let (mut client, link) = Client::socket_with(V3, false, Limits::default());
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    let open =
        format!(r#"0{{"sid":"{SID}","upgrades":[],"pingInterval":25000,"pingTimeout":20000}}"#);
    assert_eq!(client.hears(link), [&*open, "40"]);
    assert_eq!(client.session.peer(), Some(id()));
}

#[test]
fn revision_4_asks_to_be_let_in() {
    let mut client = Client::polling_with(V4, false, Limits::default());
    assert_eq!(
        text(client.session.first_answer(false)),
        format!(
            r#"0{{"sid":"{SID}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )
    );
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    assert_eq!(client.posts("40"), Some(CONNECT));
    assert_eq!(client.session.peer(), None, "not until it is accepted");
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(client.session.peer(), Some(id()));
    let connected = r#"40{"sid":"v9uLaHT8O3Ftv6nyAAAK"}"#;
    assert_eq!(client.answer(ticket).unwrap(), connected);

    let (mut client, link) = Client::socket_with(V4, false, Limits::default());
    assert_eq!(
        client.hears(link),
        [format!(
            r#"0{{"sid":"{SID}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#
        )]
    );
    assert_eq!(client.says(link, "40"), Some(CONNECT));
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(client.hears(link), [connected]);
}

#[test]
fn plain_json_is_told_who_it_is() {
    let open = |limits: &_, now| Session::json(limits, now).0;
    let mut client = Client::new(open, Limits::default());
    assert!(client.hears(Link::FIRST).is_empty());
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(
        client.hears(Link::FIRST),
        [
            r#"{"type":"READY","caller":null,"callee":null,"room":null,"payload":{"id":"v9uLaHT8O3Ftv6nyAAAK"}}"#
        ]
    );
}

#[test]
fn revision_4_may_bring_an_object_as_auth() {
    for auth in [r#"40{"token":"x"}"#, "40{}", r#"40/?a=b,{"token":"x"}"#] {
        let mut client = Client::polling_with(V4, false, Limits::default());
        let object = auth.find('{').and_then(|at| auth.get(at..));
        let Some(Event::Connect { namespace, auth }) = client.posts(auth) else {
            panic!("{auth}");
        };
        assert!(namespace.is_main());
        assert_eq!(auth, object);
    }
    for auth in [r#"40"x""#, "40[]", "401", "40null", "40{", "40{}x"] {
        let mut client = Client::polling_with(V4, false, Limits::default());
        assert_eq!(client.posts(auth), None, "{auth}");
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError), "{auth}");
    }
}

#[test]
fn a_second_connect_ends_revision_4_only() {
    let (mut client, link) = Client::socket(V3);
    for again in ["40", r#"40"whatever""#, "40/?token=x,"] {
        assert_eq!(client.says(link, again), None);
    }
    assert_eq!(client.ending(), None);
    assert!(client.hears(link).is_empty());

    let (mut client, link) = Client::socket(V4);
    assert_eq!(client.says(link, "40"), None);
    assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
}

#[test]
fn a_namespace_that_does_not_exist_is_refused() {
    let (mut client, link) = Client::socket(V3);
    assert_eq!(client.says(link, "40/nope?x=1,"), Some(asks("/nope?x=1")));
    client.session.reject(Namespace::of("/nope?x=1"));
    assert_eq!(client.hears(link), [r#"44/nope,"Invalid namespace""#]);
    assert_eq!(client.session.peer(), Some(id()));
    // Nobody is there, so nobody hears.
    assert_eq!(client.says(link, r#"42/nope,["message",{}]"#), None);
    assert_eq!(client.says(link, "41/nope,"), None);
    assert_eq!(client.session.peer(), Some(id()));
    assert_eq!(client.ending(), None);

    let (mut client, link) = Client::socket_with(V4, false, Limits::default());
    client.hears(link);
    assert_eq!(client.says(link, "40/nope,"), Some(asks("/nope")));
    client.session.reject(Namespace::of("/nope"));
    assert_eq!(
        client.hears(link),
        [r#"44/nope,{"message":"Invalid namespace"}"#]
    );
    assert_eq!(client.due(), Some(seconds(10)), "still to connect");
    assert_eq!(client.says(link, "40"), Some(CONNECT));
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(client.says(link, r#"42/nope,["message",{}]"#), None);
    assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
}

/// A client that is in `/` and in `/news` besides.
fn in_two(revision: Revision) -> (Client, Link, Presence) {
    let (mut client, link) = Client::socket(revision);
    assert_eq!(client.says(link, "40/news,"), Some(asks("/news")));
    let news = Presence {
        id: "Ik6zh4tSUb3YbFHIAAAD".parse().unwrap(),
        namespace: Some("/news".into()),
    };
    client
        .session
        .accept(news.clone(), Identity::anonymous(), None);
    (client, link, news)
}

fn asks(name: &str) -> Event<'_> {
    Event::Connect {
        namespace: Namespace::of(name),
        auth: None,
    }
}

#[test]
fn a_client_is_another_peer_in_each_namespace() {
    for (revision, welcome) in [
        (V3, "40/news,"),
        (V4, r#"40/news,{"sid":"Ik6zh4tSUb3YbFHIAAAD"}"#),
    ] {
        let (mut client, link, news) = in_two(revision);
        assert_eq!(client.hears(link), [welcome]);
        assert_eq!(client.session.peer(), Some(id()));
        for (packet, sender) in [
            (r#"42/news,7["x"]"#, news.clone()),
            (r#"427["x"]"#, Presence::main(id())),
        ] {
            let expected = Event::Packet(Incoming {
                sender,
                ack: Some("7".into()),
                data: r#"["x"]"#.into(),
                attachments: None,
            });
            assert_eq!(client.says(link, packet), Some(expected));
        }
        client.leaves(link, "41/news,", &news);
        assert_eq!(client.says(link, "41/news,"), None);
        assert_eq!(client.session.peer(), Some(id()));
        assert_eq!(client.says(link, "40/news,"), Some(asks("/news")));
        assert_eq!(client.ending(), None);
    }
}

#[test]
fn a_second_connect_to_a_namespace_ends_revision_4_only() {
    let (mut client, link, _) = in_two(V3);
    assert_eq!(client.says(link, "40/news,"), None);
    assert_eq!(client.ending(), None);
    let (mut client, link, _) = in_two(V4);
    assert_eq!(client.says(link, "40/news,"), None);
    assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
}

#[test]
fn a_kick_is_said_in_every_namespace() {
    let (mut client, link, _) = in_two(V4);
    client.hears(link);
    client.session.close(CloseReason::Kicked);
    let close = format!("close: {}", CloseReason::Kicked);
    assert_eq!(client.hears(link), ["41", "41/news,", &*close]);
}

#[test]
fn bare_engine_io_hands_out_messages_as_they_come() {
    for revision in [V3, V4] {
        let open = |limits: &_, now| Session::polling(revision, &sid(), false, limits, now).bare();
        let mut client = Client::new(open, Limits::default());
        let heartbeat = if revision == V3 { 45 } else { 25 };
        assert_eq!(client.due(), Some(seconds(heartbeat)), "no connect timeout");
        assert_eq!(client.posts("4hello"), Some(Event::BareText("hello")));
        assert_eq!(client.posts("40"), Some(Event::BareText("0")));
        let binary = if revision == V3 { "b4AQID" } else { "bAQID" };
        let bytes = vec![1, 2, 3].into();
        assert_eq!(client.posts(binary), Some(Event::BareBinary(bytes)));
        assert_eq!(client.posts("abc"), None);
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
    }
}

#[test]
fn an_event_before_connect_ends_revision_4() {
    for text in [r#"42["message",{}]"#, r#"451-["message",{}]"#] {
        let mut client = Client::polling_with(V4, false, Limits::default());
        assert_eq!(client.posts(text), None);
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError), "{text}");
    }
}

#[test]
fn an_event_after_leaving_is_nobodys_in_revision_3() {
    let (mut client, link) = Client::socket(V3);
    client.leaves(link, "41", &Presence::main(id()));
    assert_eq!(client.says(link, r#"42["message",{}]"#), None);
    assert_eq!(client.ending(), None);
    assert!(client.hears(link).is_empty());
}

#[test]
fn who_leaves_may_come_back_as_another() {
    for revision in [V3, V4] {
        let (mut client, link) = Client::socket(revision);
        client.leaves(link, "41", &Presence::main(id()));
        assert_eq!(client.session.peer(), None);
        assert_eq!(client.says(link, "41"), None, "left already");
        assert_eq!(client.ending(), None);

        assert_eq!(client.says(link, "40"), Some(CONNECT));
        let other: PeerId = "Ik6zh4tSUb3YbFHIAAAD".parse().unwrap();
        client
            .session
            .accept(Presence::main(other), Identity::anonymous(), None);
        assert_eq!(client.session.peer(), Some(other));
        assert_eq!(client.hears(link).len(), 1);
        let said = event_of(other, None, "[1]");
        assert_eq!(client.says(link, "42[1]"), Some(said));
        client.leaves(link, "41", &Presence::main(other));
    }
}

#[test]
fn events_are_handed_on_as_they_came() {
    for revision in [V3, V4] {
        let data = r#"["message",{"type":"OFFER"}]"#;
        let plain = format!("42{data}");
        let acked = format!("4212{data}");
        let (mut client, link) = Client::socket(revision);
        assert_eq!(client.says(link, &plain), Some(event(None, data)));
        assert_eq!(client.says(link, &acked), Some(event(Some("12"), data)));
        let mut client = Client::polling(revision);
        assert_eq!(client.posts(&acked), Some(event(Some("12"), data)));
    }
    let (mut client, link) = Client::json();
    assert_eq!(
        client.says(link, "40"),
        Some(Event::Json {
            sender: id(),
            text: "40"
        })
    );
}

#[test]
fn what_is_not_the_protocol_ends_the_session() {
    let either = ["", "abc", "0", "4", "47", "4é", "42", "451", r#"44"no""#];
    for (revision, own) in [(V3, ["bAQID", "b2AQID"]), (V4, ["2", "2probe"])] {
        for text in either.into_iter().chain(own) {
            let (mut client, link) = Client::socket(revision);
            assert_eq!(client.says(link, text), None);
            let ending = client.ending();
            assert_eq!(
                ending,
                Some(CloseReason::ProtocolError),
                "{revision:?} {text:?}"
            );
        }
    }
}

#[test]
fn what_nobody_waits_for_is_no_error() {
    for revision in [V3, V4] {
        let (mut client, link) = Client::socket(revision);
        for text in ["3", "3abc", "5", "6", "6x", "4312[1]"] {
            assert_eq!(client.says(link, text), None);
            assert_eq!(client.ending(), None, "{revision:?} {text}");
        }
        assert!(client.hears(link).is_empty());
        assert_eq!(client.says(link, "4312{}"), None);
        assert_eq!(client.ending(), Some(CloseReason::ProtocolError));
    }
}

#[test]
fn nobody_becomes_a_peer_after_the_end() {
    let mut client = Client::polling_with(V4, false, Limits::default());
    assert_eq!(client.posts("40"), Some(CONNECT));
    client.session.close(CloseReason::Kicked);
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(client.session.peer(), None);
    assert_eq!(client.ended_as(), Some((CloseReason::Kicked, vec![])));
}
