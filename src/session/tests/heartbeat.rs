//! Heartbeats and deadlines, to the instant.

use super::*;

#[test]
fn revision_3_pings_and_is_answered() {
    let (mut client, link) = Client::socket(V3);
    for ping in ["2", "2abc"] {
        assert_eq!(client.says(link, ping), None);
        assert_eq!(client.hears(link), ["3"]);
    }
    let mut client = Client::polling(V3);
    client.posts("2");
    assert_eq!(client.polls(), "1:3");
}

#[test]
fn revision_3_is_gone_after_interval_and_timeout_of_silence() {
    for packet in ["2", "6", "40", "42[1]"] {
        let (mut client, link) = Client::socket(V3);
        assert_eq!(client.due(), Some(seconds(45)));
        client.at(seconds(30));
        client.says(link, packet);
        client.hears(link);
        assert_eq!(client.due(), Some(seconds(75)), "{packet}");
        client.at(just_before(75));
        assert_eq!(client.ending(), None);
        assert!(client.hears(link).is_empty(), "the server does not ping");
        client.at(seconds(75));
        assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
        assert_eq!(client.due(), None);
    }
}

#[test]
fn revision_4_is_pinged_and_has_a_timeout_to_answer() {
    let (mut client, link) = Client::socket(V4);
    client.at(just_before(25));
    assert!(client.hears(link).is_empty());
    client.at(seconds(25));
    client.at(seconds(25));
    assert_eq!(client.hears(link), ["2"], "once");
    assert_eq!(client.due(), Some(seconds(45)));

    client.at(seconds(30));
    client.says(link, "3");
    assert_eq!(client.due(), Some(seconds(55)));
    client.at(seconds(55));
    assert_eq!(client.hears(link), ["2"]);
    client.at(just_before(75));
    assert_eq!(client.ending(), None);
    client.at(seconds(75));
    assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
}

#[test]
fn revision_4_must_answer_the_ping_itself() {
    let (mut client, link) = Client::socket(V4);
    client.at(seconds(10));
    client.says(link, "3");
    assert_eq!(client.due(), Some(seconds(25)), "nobody had asked");
    client.at(seconds(25));
    client.says(link, "42[1]");
    client.says(link, "6");
    assert_eq!(client.due(), Some(seconds(45)));
}

#[test]
fn a_ping_waits_for_the_next_poll() {
    let mut client = Client::polling(V4);
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    client.at(seconds(25));
    assert_eq!(client.woken(), 1);
    assert_eq!(client.answer(ticket).unwrap(), "2");
    client.posts("3");
    client.at(seconds(50));
    assert_eq!(client.polls(), "2");
    client.at(seconds(70));
    assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
}

#[test]
fn plain_json_is_pinged_by_websocket_and_any_frame_answers() {
    let answers: [fn(&mut Client, Link); 2] = [
        |client, link| client.session.handle_frame(link, client.now),
        |client, link| assert!(client.says(link, "{}").is_some()),
    ];
    for answer in answers {
        let (mut client, link) = Client::json();
        assert!(client.registers(link));
        client.at(just_before(25));
        assert_eq!(client.woken(), 0);
        client.at(seconds(25));
        assert_eq!(client.woken(), 1);
        assert!(!client.registers(link), "there is a ping to write");
        assert_eq!(client.hears(link), ["ping"]);
        assert!(client.hears(link).is_empty(), "once");
        assert_eq!(client.due(), Some(seconds(45)));
        client.at(just_before(45));
        answer(&mut client, link);
        client.at(seconds(45));
        assert_eq!(client.ending(), None);
        client.at(seconds(70));
        assert_eq!(client.hears(link), ["ping"]);
        client.at(seconds(90));
        assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
    }
}

#[test]
fn websocket_frames_are_no_heartbeat_of_engine_io() {
    let (mut client, link) = Client::socket(V4);
    client.at(seconds(25));
    client.session.handle_frame(link, client.now);
    assert_eq!(client.due(), Some(seconds(45)));
    let (mut client, link) = Client::socket(V3);
    client.session.handle_frame(link, client.start + seconds(9));
    assert_eq!(client.due(), Some(seconds(45)));
}

#[test]
fn a_look_that_comes_late_still_asks_before_it_ends() {
    let (mut client, link) = Client::socket(V4);
    client.at(seconds(100));
    assert_eq!(client.ending(), None);
    assert_eq!(client.hears(link), ["2"]);
    assert_eq!(client.due(), Some(seconds(120)));
}

#[test]
fn who_never_connects_is_let_go() {
    let mut client = Client::polling_with(V4, false, Limits::default());
    client.session.first_answer(false);
    assert_eq!(client.due(), Some(seconds(10)));
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    client.at(just_before(10));
    assert_eq!(client.answer(ticket), None);
    client.at(seconds(10));
    assert_eq!(client.woken(), 1);
    assert_eq!(client.answer(ticket).unwrap(), "1");
    assert_eq!(client.ending(), Some(CloseReason::ConnectTimeout));

    let (mut client, link) = Client::socket_with(V4, false, Limits::default());
    client.hears(link);
    client.at(seconds(10));
    let reason = CloseReason::ConnectTimeout;
    assert_eq!(client.hears(link), [format!("close: {reason}")]);
}

#[test]
fn who_has_connected_in_time_is_not_asked_again() {
    let (mut client, link) = Client::socket_with(V4, false, Limits::default());
    client.at(just_before(10));
    assert_eq!(client.says(link, "40"), Some(CONNECT));
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    assert_eq!(client.due(), Some(seconds(25)));
    client.leaves(link, "41", &Presence::main(id()));
    assert_eq!(client.due(), Some(seconds(25)));
}

#[test]
fn time_does_nothing_to_what_has_ended() {
    let (mut client, link) = Client::socket(V4);
    client.session.close(CloseReason::Kicked);
    client.at(seconds(1_000));
    assert_eq!(client.ending(), Some(CloseReason::Kicked));
    let farewell = format!("close: {}", CloseReason::Kicked);
    assert_eq!(client.hears(link), ["41", &farewell]);
}

#[test]
fn whoever_is_not_read_while_the_application_decides_owes_nothing() {
    for revision in [V3, V4] {
        let (mut client, link) = Client::socket(revision);
        client.at(seconds(25));
        client.hears(link);
        client.session.leave_unread();
        // The server has pinged one, and waits for the other's; neither would be read.
        for second in [45, 100, 200] {
            client.at(seconds(second));
            assert_eq!(client.ending(), None, "{revision:?}");
        }
        client.session.read_again(client.start + seconds(210));
        client.at(just_before(230));
        assert_eq!(client.ending(), None, "{revision:?}");
        client.at(seconds(230));
        assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
    }
}
