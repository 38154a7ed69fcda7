//! A websocket takes over from long-polling, or does not.

use super::*;

#[test]
fn a_probe_is_answered_and_the_waiting_get_let_go() {
    for (revision, noop) in [(V3, "1:6"), (V4, "6")] {
        let mut client = Client::polling(revision);
        let ticket = client.gets();
        assert_eq!(client.answer(ticket), None);
        let link = client.probes();
        assert!(client.hears(link).is_empty(), "the client speaks first");
        assert_eq!(client.answer(ticket), None);
        assert_eq!(client.says(link, "2probe"), None);
        assert_eq!(client.hears(link), ["3probe"]);
        assert!(client.hears(link).is_empty(), "once");
        assert_eq!(client.woken(), 1);
        assert_eq!(client.answer(ticket), None, "there may be more to read");
        client.session.hear_out(link);
        assert_eq!(client.woken(), 1);
        assert_eq!(client.answer(ticket).unwrap(), noop);
        let ticket = client.gets();
        client.session.hear_out(link);
        assert_eq!(
            client.answer(ticket).unwrap(),
            noop,
            "and again until it is done"
        );
        assert_eq!(client.says(link, "5"), None);
        assert!(client.hears(link).is_empty());
        assert_eq!(client.ending(), None);
    }
}

/// Both are on their way at once, and it is for chance which of them is looked at first.
#[test]
fn a_get_that_was_sent_after_the_switch_is_refused_although_it_is_read_before() {
    let mut client = Client::polling(V4);
    let link = client.probes();
    client.says(link, "2probe");
    client.hears(link);
    client.session.hear_out(link);
    client.woken();
    assert!(client.registers(link));
    let ticket = client.gets();
    assert_eq!(client.woken(), 1, "the websocket's task is to look");
    assert_eq!(client.answer(ticket), None);
    client.says(link, "5");
    assert_eq!(client.woken(), 1);
    assert_eq!(client.answer(ticket).unwrap(), "BadRequest");
    assert_eq!(client.ending(), None);
}

#[test]
fn a_probe_that_says_nothing_holds_nothing_up() {
    let mut client = Client::polling(V3);
    client.probes();
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    client.mail("4a");
    assert_eq!(client.answer(ticket).unwrap(), "2:4a");
}

#[test]
fn nothing_is_lost_doubled_or_overtaken_by_the_switch() {
    let mut client = Client::polling(V3);
    client.mail("4a");
    let link = client.probes();
    client.says(link, "2probe");
    client.mail("4b");
    assert_eq!(client.hears(link), ["3probe"], "mail goes by the GET");
    assert_eq!(client.polls(), "2:4a2:4b");
    client.mail("4c");
    client.says(link, "5");
    client.mail("4d");
    assert_eq!(client.hears(link), ["4c", "4d"]);
    client.mail("4e");
    assert_eq!(client.hears(link), ["4e"]);
}

#[test]
fn packets_are_heard_by_post_until_the_switch() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    client.says(link, "2probe");
    assert_eq!(client.session.check_post(), Ok(()));
    assert!(matches!(client.posts("42[1]"), Some(Event::Packet(_))));
    client.says(link, "5");
    assert_eq!(client.session.check_post(), Err(PollRefused::BadRequest));
    assert_eq!(client.session.open_poll(), Err(PollRefused::BadRequest));
    assert!(matches!(client.says(link, "42[2]"), Some(Event::Packet(_))));
    assert_eq!(client.ending(), None);
}

#[test]
fn a_probe_that_fails_leaves_polling_as_it_was() {
    let failures: [fn(&mut Client, Link); 6] = [
        |client, link| assert_eq!(client.says(link, "42[1]"), None),
        |client, link| assert_eq!(client.says(link, "2"), None),
        |client, link| assert_eq!(client.says(link, ""), None),
        |client, link| {
            assert_eq!(client.session.handle_binary(link, &[4], client.now), None);
        },
        |client, link| client.session.close_link(link, CloseReason::TransportLost),
        |client, _| client.at(seconds(10)),
    ];
    for (nth, fails) in failures.into_iter().enumerate() {
        for answered in [false, true] {
            let mut client = Client::polling(V3);
            let link = client.session.open_probe(true, client.now);
            if answered {
                client.says(link, "2probe");
            }
            fails(&mut client, link);
            assert!(client.session.is_over(link), "{nth}");
            assert_eq!(client.hears(link), ["close"]);
            assert_eq!(client.says(link, "5"), None, "too late");

            assert_eq!(client.ending(), None);
            assert_eq!(client.due(), Some(seconds(45)));
            let ticket = client.gets();
            assert_eq!(client.answer(ticket), None, "no noops any more");
            client.mail("4a");
            assert_eq!(client.answer(ticket).unwrap(), "2:4a");
            assert!(!client.session.base64, "what it said of binary is gone");

            let link = client.probes();
            client.says(link, "2probe");
            assert_eq!(client.hears(link), ["3probe"]);
        }
    }
}

#[test]
fn a_probe_has_until_its_timeout() {
    let mut client = Client::polling(V4);
    client.at(seconds(3));
    let link = client.probes();
    assert_eq!(client.due(), Some(seconds(13)));
    assert!(client.registers(link));
    client.at(just_before(13));
    assert!(!client.session.is_over(link));
    assert_eq!(client.woken(), 0);
    client.at(seconds(13));
    assert!(client.session.is_over(link));
    assert_eq!(client.woken(), 1);
    assert_eq!(client.due(), Some(seconds(25)));
}

#[test]
fn there_is_one_probe_at_a_time() {
    let mut client = Client::polling(V3);
    let first = client.probes();
    let second = client.probes();
    assert_ne!(first, second);
    assert!(client.session.is_over(second));
    assert_eq!(client.says(second, "2probe"), None);
    assert_eq!(client.says(second, "5"), None);
    assert_eq!(client.hears(second), ["close"]);
    client.session.close_link(second, CloseReason::ClientClosed);
    client.says(first, "2probe");
    client.says(first, "5");
    client.mail("4a");
    assert_eq!(client.hears(first), ["4a"]);
}

#[test]
fn a_websocket_session_takes_no_second_websocket() {
    let (born, link) = Client::socket(V3);
    let mut upgraded = Client::polling(V3);
    let probe = upgraded.probes();
    upgraded.says(probe, "5");
    for (mut client, link) in [(born, link), (upgraded, probe)] {
        let late = client.probes();
        assert!(client.session.is_over(late));
        assert!(!client.registers(late));
        assert_eq!(client.says(late, "2probe"), None);
        assert_eq!(client.says(late, "5"), None);
        assert_eq!(client.hears(late), ["close"]);
        client.session.close_link(late, CloseReason::TransportLost);
        assert_eq!(client.ending(), None);
        client.mail("4a");
        assert_eq!(client.hears(link), ["4a"]);
    }
}

#[test]
fn a_session_that_ends_takes_its_probe_along() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    assert!(client.registers(link));
    client.posts("1");
    assert_eq!(client.woken(), 1);
    assert!(client.session.is_over(link));
    assert_eq!(client.hears(link), ["close"]);
    let late = client.probes();
    assert!(client.session.is_over(late));
}

#[test]
fn the_switch_counts_as_a_sign_of_life_in_revision_3() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    client.now += seconds(9);
    client.says(link, "2probe");
    assert_eq!(client.due(), Some(seconds(10)));
    client.says(link, "5");
    assert_eq!(client.due(), Some(seconds(54)));
}

#[test]
fn the_answered_ping_of_revision_4_may_come_by_either_carrier() {
    let mut client = Client::polling(V4);
    client.at(seconds(25));
    assert_eq!(client.polls(), "2");
    let link = client.probes();
    client.says(link, "5");
    client.says(link, "3");
    assert_eq!(client.due(), Some(seconds(50)));
}

#[test]
fn a_lost_probe_leaves_no_waker_behind() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    assert!(client.registers(link));
    client.session.close_link(link, CloseReason::TransportLost);
    assert_eq!(Arc::strong_count(&client.tally), 1, "nobody holds its task");
}

#[test]
fn a_get_beside_a_websocket_that_takes_over_is_refused() {
    for revision in [V3, V4] {
        // It was asked when the websocket was there: its client knows better.
        let mut client = Client::polling(revision);
        let link = client.session.open_probe(false, client.now);
        let ticket = client.gets();
        assert_eq!(client.answer(ticket), None);
        client.says(link, "2probe");
        client.says(link, "5");
        assert_eq!(client.woken(), 1);
        client.mail("4a");
        assert_eq!(client.answer(ticket).as_deref(), Some("BadRequest"));
        client.session.drop_poll(ticket);
        assert_eq!(client.ending(), None);
        assert!(
            client.hears(link).contains(&"4a".to_owned()),
            "the mail is not the GET's"
        );

        // It waited when the websocket came.
        let mut client = Client::polling(revision);
        let ticket = client.gets();
        let link = client.session.open_probe(false, client.now);
        client.says(link, "2probe");
        client.says(link, "5");
        assert!(client.answer(ticket).unwrap().ends_with('6'));
    }
}
