//! Long-polling: what a GET waits for, and what it is answered.

use super::*;

#[test]
fn a_get_waits_until_there_is_something() {
    let mut client = Client::polling(V3);
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    assert_eq!(client.answer(ticket), None);
    client.mail("4a");
    client.mail("4b");
    assert_eq!(client.woken(), 1);
    assert_eq!(client.answer(ticket).unwrap(), "2:4a2:4b");
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None, "nothing is said twice");
}

#[test]
fn what_waits_goes_out_with_the_next_get() {
    let mut client = Client::polling(V4);
    client.mail("4a");
    client.mail("4b");
    assert_eq!(client.polls(), "4a\x1e4b");
    client.mail("4c");
    assert_eq!(client.polls(), "4c");
}

#[test]
fn an_answer_ends_at_the_maximum_and_the_rest_follows() {
    let limits = Limits {
        max_message: 1_000,
        ..Limits::default()
    };
    let mut client = Client::polling_with(V4, false, limits);
    client.session.first_answer(false);
    let packets: Vec<_> = (0..5).map(|n| format!("4{n}").repeat(200)).collect();
    for packet in &packets {
        client.session.push(packet.clone().into());
    }
    assert_eq!(client.polls(), packets[..3].join("\x1e"));
    assert_eq!(client.polls(), packets[3..].join("\x1e"));
}

#[test]
fn two_gets_at_once_end_the_session() {
    for (revision, close) in [(V3, "1:1"), (V4, "1")] {
        let mut client = Client::polling(revision);
        let first = client.gets();
        assert_eq!(client.answer(first), None);
        assert_eq!(client.session.open_poll(), Err(PollRefused::BadRequest));
        assert_eq!(client.woken(), 1);
        assert_eq!(client.answer(first).unwrap(), close);
        assert_eq!(client.ending(), Some(CloseReason::OverlappingPolls));
        assert_eq!(client.session.open_poll(), Err(PollRefused::Gone));
        assert_eq!(client.session.check_post(), Err(PollRefused::Gone));
    }
}

#[test]
fn a_cut_get_ends_the_session() {
    let mut client = Client::polling(V3);
    let ticket = client.gets();
    client.session.drop_poll(ticket);
    assert_eq!(client.ending(), Some(CloseReason::TransportLost));
}

#[test]
fn an_answered_get_may_be_dropped() {
    let mut client = Client::polling(V3);
    client.mail("4a");
    let first = client.gets();
    assert!(client.answer(first).is_some());
    let second = client.gets();
    client.session.drop_poll(first);
    assert_eq!(client.ending(), None);
    client.session.close(CloseReason::Kicked);
    client.session.drop_poll(second);
    assert_eq!(client.ending(), Some(CloseReason::Kicked));
}

#[test]
fn a_close_packet_lets_the_waiting_get_go_with_a_noop() {
    for (revision, noop) in [(V3, "1:6"), (V4, "6")] {
        let mut client = Client::polling(revision);
        let ticket = client.gets();
        assert_eq!(client.answer(ticket), None);
        client.mail("4lost");
        assert_eq!(client.posts("1"), None);
        assert_eq!(client.woken(), 1);
        assert_eq!(client.answer(ticket).unwrap(), noop);
        assert_eq!(client.ending(), Some(CloseReason::ClientClosed));
    }
}

#[test]
fn any_other_end_is_told_as_a_close() {
    let silent = [
        CloseReason::HeartbeatTimeout,
        CloseReason::SlowConsumer,
        CloseReason::TransportLost,
    ];
    for reason in silent {
        let mut client = Client::polling(V3);
        let ticket = client.gets();
        client.mail("4a");
        client.session.close(reason);
        assert_eq!(client.answer(ticket).unwrap(), "1:1", "{reason}");
    }
    for reason in [CloseReason::ProtocolError, CloseReason::MessageTooLarge] {
        let mut client = Client::polling(V3);
        let ticket = client.gets();
        client.mail("4a");
        client.session.close(reason);
        assert_eq!(client.answer(ticket).unwrap(), "2:4a1:1", "{reason}");
    }
}

#[test]
fn who_is_kicked_hears_his_mail_and_why() {
    for (revision, last) in [(V3, "2:4a2:411:1"), (V4, "4a\x1e41\x1e1")] {
        let mut client = Client::polling(revision);
        let ticket = client.gets();
        client.mail("4a");
        client.session.close(CloseReason::Kicked);
        assert_eq!(client.answer(ticket).unwrap(), last);
    }
}

#[test]
fn the_last_answer_takes_all_there_is() {
    let limits = Limits {
        max_message: 100,
        ..Limits::default()
    };
    let mut client = Client::polling_with(V4, false, limits);
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    while client.session.outbox.cost() > 0 {
        client.session.first_answer(false);
    }
    let ticket = client.gets();
    for packet in ["4a", "4b", "4c", "4d"] {
        client.mail(packet);
    }
    client.session.close(CloseReason::Kicked);
    let last = "4a\x1e4b\x1e4c\x1e4d\x1e41\x1e1";
    assert_eq!(client.answer(ticket).unwrap(), last);
}

#[test]
fn what_follows_a_close_packet_is_not_looked_at() {
    let mut client = Client::polling(V3);
    client.posts("1");
    assert_eq!(client.posts("42[1]"), None);
    assert_eq!(client.posts("abc"), None);
    assert_eq!(client.ending(), Some(CloseReason::ClientClosed));
    assert_eq!(client.ending(), None);
}

#[test]
fn a_websocket_session_is_not_polled() {
    let (mut client, _) = Client::socket(V3);
    assert_eq!(client.session.open_poll(), Err(PollRefused::BadRequest));
    assert_eq!(client.session.check_post(), Err(PollRefused::BadRequest));
    assert_eq!(client.ending(), None);
    assert_eq!(Client::polling(V4).session.check_post(), Ok(()));
}

#[test]
fn a_body_that_is_awaited_is_given_up_at_the_end() {
    let mut client = Client::polling(V3);
    let waker = Waker::from(Arc::clone(&client.tally));
    client.session.wake_post(&waker);
    assert_eq!(client.woken(), 0);
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.woken(), 1);
}
