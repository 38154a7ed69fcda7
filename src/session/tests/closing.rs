//! How a session ends, and what is said then.

use super::*;

fn farewell(reason: CloseReason) -> String {
    format!("close: {reason}")
}

#[test]
fn an_end_is_reported_once_and_the_first_reason_stays() {
    let (mut client, _) = Client::socket(V3);
    assert_eq!(client.ended_as(), None);
    assert!(!client.session.has_ending());
    client.session.close(CloseReason::HeartbeatTimeout);
    client.session.close(CloseReason::Kicked);
    assert!(client.session.is_closed());
    assert!(client.session.has_ending());
    assert_eq!(
        client.ended_as(),
        Some((CloseReason::HeartbeatTimeout, vec![id()]))
    );
    assert!(!client.session.has_ending());
    assert_eq!(client.session.peer(), None);
    assert_eq!(client.ended_as(), None);
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.ended_as(), None);
}

#[test]
fn who_has_left_is_not_reported_again() {
    let (mut client, link) = Client::socket(V4);
    client.leaves(link, "41", &Presence::main(id()));
    client.session.close_link(link, CloseReason::ClientClosed);
    assert_eq!(client.ended_as(), Some((CloseReason::ClientClosed, vec![])));
}

#[test]
fn a_close_packet_over_a_websocket_closes_it() {
    for revision in [V3, V4] {
        let (mut client, link) = Client::socket(revision);
        client.mail("4lost");
        assert_eq!(client.says(link, "1"), None);
        assert!(client.session.is_over(link));
        assert_eq!(client.hears(link), [farewell(CloseReason::ClientClosed)]);
        assert_eq!(client.ending(), Some(CloseReason::ClientClosed));
        // What still arrives is nobody's.
        assert_eq!(client.says(link, "42[1]"), None);
        assert_eq!(client.session.handle_binary(link, &[4], client.now), None);
        assert_eq!(client.ending(), None);
    }
}

#[test]
fn a_lost_websocket_ends_its_session() {
    for reason in [CloseReason::TransportLost, CloseReason::ClientClosed] {
        let (mut client, link) = Client::socket(V3);
        client.session.close_link(link, reason);
        assert_eq!(client.ending(), Some(reason));
    }
}

#[test]
fn plain_json_takes_no_binary() {
    let (mut client, link) = Client::json();
    client.mail("{}");
    assert_eq!(client.session.handle_binary(link, &[1], client.now), None);
    assert_eq!(
        client.hears(link),
        ["{}", &farewell(CloseReason::BinaryNotAccepted)]
    );
    assert_eq!(client.ending(), Some(CloseReason::BinaryNotAccepted));
}

#[test]
fn a_kick_is_said_after_the_mail() {
    for revision in [V3, V4] {
        let (mut client, link) = Client::socket(revision);
        client.mail("4a");
        client.session.close(CloseReason::Kicked);
        assert!(client.session.is_over(link));
        assert_eq!(
            client.hears(link),
            ["4a", "41", &farewell(CloseReason::Kicked)]
        );
    }
}

#[test]
fn a_kick_is_no_packet_to_who_is_no_peer() {
    let (mut client, link) = Client::json();
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.hears(link), [farewell(CloseReason::Kicked)]);

    let (mut client, link) = Client::socket(V4);
    client.leaves(link, "41", &Presence::main(id()));
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.hears(link), [farewell(CloseReason::Kicked)]);
}

#[test]
fn the_last_words_are_for_the_websocket_that_carried_the_session() {
    let (mut client, link) = Client::socket(V3);
    client.mail("4a");
    client.session.close(CloseReason::Kicked);
    let late = client.probes();
    assert_eq!(client.hears(late), ["close"]);
    let farewell = farewell(CloseReason::Kicked);
    assert_eq!(client.hears(link), ["4a", "41", &farewell]);
}

#[test]
fn half_an_event_ends_with_its_session() {
    let (mut client, link) = Client::socket(V4);
    client.says(link, "451-[1]");
    assert!(client.session.assembly.is_some());
    client.session.close(CloseReason::TransportLost);
    assert!(client.session.assembly.is_none());
}

#[test]
fn the_last_words_may_take_several_writes() {
    let (mut client, link) = Client::socket(V3);
    client.mail("4a");
    client.mail("4b");
    client.session.close(CloseReason::Kicked);
    let mut heard = Vec::new();
    let end = loop {
        let mut out = Segments::default();
        let transmit = client.session.poll_transmit(link, 1, &mut out);
        heard.push(frames(&mut out).concat());
        if transmit != Transmit::Open {
            break transmit;
        }
    };
    assert_eq!(heard, ["4a", "4b", "41"]);
    assert_eq!(end, Transmit::Close(Some(CloseReason::Kicked)));
}

#[test]
fn who_does_not_take_his_mail_is_let_go() {
    let limits = || Limits {
        max_outbox: 10_000,
        ..Limits::default()
    };
    let packets: [fn(&mut Client); 3] = [
        |client| client.mail("4aa"),
        |client| {
            let signal = Signal::new("N", None, &1).unwrap();
            client.session.push_signal(&signal);
        },
        |client| {
            client.posts("2");
        },
    ];
    for packet in packets {
        let mut client = Client::polling_with(V3, false, limits());
        client
            .session
            .accept(Presence::main(id()), Identity::anonymous(), None);
        let mut count = 0;
        while client.ending().is_none() {
            packet(&mut client);
            count += 1;
        }
        assert!((50..160).contains(&count), "{count}");
        assert_eq!(client.session.outbox.cost(), 0, "nothing is kept for it");
    }
}

#[test]
fn a_full_outbox_is_the_senders_to_report() {
    let limits = Limits {
        max_outbox: 1_000,
        ..Limits::default()
    };
    let (mut client, link) = Client::socket_with(V3, false, limits);
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    client.hears(link);
    let signal = Signal::new("N", None, &"x".repeat(400)).unwrap();
    assert!(!client.session.is_congested(link));
    assert!(client.session.enqueue(&signal).is_ok());
    assert!(client.session.is_congested(link), "over half full");
    assert_eq!(client.session.enqueue(&signal), Err(Full));
    assert_eq!(client.ending(), None);
    assert_eq!(client.hears(link).len(), 1);
    assert!(!client.session.is_congested(link));
}

#[test]
fn a_probe_is_heard_while_its_session_is_congested() {
    let limits = Limits {
        max_outbox: 1_000,
        ..Limits::default()
    };
    let mut client = Client::polling_with(V3, false, limits);
    client.session.push("4x".repeat(300).into());
    let link = client.probes();
    assert!(!client.session.is_congested(link));
    client.says(link, "5");
    assert!(client.session.is_congested(link));
}

#[test]
fn what_nobody_can_be_told_any_more_is_not_kept() {
    let mut client = Client::polling(V4);
    client.session.push("4x".repeat(300).into());
    client.session.close(CloseReason::Kicked);
    assert_eq!(
        client.session.outbox.cost(),
        0,
        "no GET waits, and none will be answered"
    );

    let (mut client, link) = Client::socket(V4);
    client.session.push("4x".repeat(300).into());
    client.session.close(CloseReason::Kicked);
    assert_ne!(
        client.session.outbox.cost(),
        0,
        "its websocket may still take it"
    );
    client.session.forget_unsaid(link);
    assert_eq!(client.session.outbox.cost(), 0);
}
