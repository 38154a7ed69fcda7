//! Clients that say too much, and websockets that take nothing.

use super::*;
use crate::session::Charged;

fn rated() -> Limits {
    Limits {
        events_per_second: 1,
        rate_patience: seconds(30),
        ..Limits::default()
    }
}

/// A websocket client that has to keep to a rate.
fn socket(revision: Revision) -> (Client, Link) {
    let (mut client, link) = Client::socket_with(revision, false, rated());
    client
        .session
        .accept(Presence::main(id()), Identity::anonymous(), None);
    client.hears(link);
    (client.settled(), link)
}

impl Client {
    fn sent(&mut self, events: usize) -> Charged {
        self.session.charge(events, 0, self.now)
    }
}

#[test]
fn who_says_too_much_is_paused_and_then_ended() {
    let (mut client, link) = socket(V4);
    assert_eq!(client.sent(11), Charged::Pause(seconds(10)));
    client.at(seconds(10));
    assert_eq!(client.sent(20), Charged::Pause(seconds(20)));
    assert_eq!(client.ending(), None);
    client.at(seconds(30));
    assert_eq!(client.sent(1), Charged::Spent);
    assert_eq!(client.woken(), 0, "nobody was registered");
    assert_eq!(client.ending(), Some(CloseReason::RateLimited));
    assert_eq!(
        client.hears(link),
        ["2", "close: too much in too little time"],
        "what was on its way comes first"
    );
}

#[test]
fn without_rates_nothing_is_counted() {
    let (mut client, _) = Client::socket(V4);
    assert_eq!(client.sent(usize::MAX), Charged::Free);
}

#[test]
fn the_beat_of_a_client_waits_as_long_as_it_does() {
    // Its answer to a ping lies behind all that it said too much.
    let (mut client, link) = socket(V4);
    client.at(seconds(25));
    assert_eq!(client.hears(link), ["2"]);
    client.at(seconds(44));
    assert_eq!(client.sent(31), Charged::Pause(seconds(30)));
    assert_eq!(client.due(), Some(seconds(75)));
    client.at(just_before(75));
    assert_eq!(client.ending(), None);
    client.says(link, "3");
    client.at(seconds(80));
    assert_eq!(client.ending(), None);

    // The client keeps the beat.
    let (mut client, _) = socket(V3);
    client.at(seconds(44));
    assert_eq!(client.sent(31), Charged::Pause(seconds(30)));
    client.at(just_before(75));
    assert_eq!(client.ending(), None);
    client.at(seconds(75));
    assert_eq!(client.ending(), Some(CloseReason::HeartbeatTimeout));
}

#[test]
fn a_ping_during_the_pause_is_on_time_and_its_answer_may_be_late() {
    let (mut client, link) = socket(V4);
    client.at(seconds(20));
    assert_eq!(client.sent(31), Charged::Pause(seconds(30)));
    client.at(seconds(25));
    assert_eq!(client.hears(link), ["2"], "the client waits for it");
    assert_eq!(client.due(), Some(seconds(70)), "from the end of the pause");
    client.at(just_before(70));
    assert_eq!(client.ending(), None);
}

#[test]
fn a_websocket_that_takes_nothing_is_given_up() {
    let (mut client, link) = Client::socket(V3);
    client.at(seconds(1));
    assert_eq!(
        client.session.block(link, client.now),
        Some(client.start + seconds(21))
    );
    assert_eq!(client.due(), Some(seconds(21)));
    client.at(just_before(21));
    assert_eq!(client.ending(), None);
    client.mail("42[1]");
    client.at(seconds(21));
    assert_eq!(client.ending(), Some(CloseReason::Stalled));
    assert!(client.session.is_stalled(link));
    assert_eq!(client.hears(link), ["close: takes no bytes"]);
}

#[test]
fn a_websocket_that_takes_anything_has_all_the_time_again() {
    let progress: [fn(&mut Client, Link); 2] = [
        |client, link| client.session.unblock(link),
        |client, link| drop(client.hears(link)),
    ];
    for progress in progress {
        let (mut client, link) = Client::socket(V3);
        client.session.block(link, client.now);
        client.at(just_before(20));
        progress(&mut client, link);
        assert_eq!(client.due(), Some(seconds(45)));
        client.at(seconds(21));
        client.session.block(link, client.now);
        assert_eq!(client.due(), Some(seconds(41)));
        assert_eq!(client.ending(), None);
    }
}

#[test]
fn whoever_lives_but_does_not_poll_for_what_waits_is_ended() {
    let mut client = Client::polling(V3);
    let minute = |client: &mut Client, nth: u64| {
        client.at(seconds(nth * 30));
        client.posts("2");
        client.ending()
    };
    // The pong of its first ping waits for it.
    assert_eq!(minute(&mut client, 1), None);
    assert_eq!(minute(&mut client, 2), None);
    assert_eq!(minute(&mut client, 3), None);
    assert_eq!(client.polls(), "1:31:31:3", "and now it has polled");
    for nth in 4..=6 {
        assert_eq!(minute(&mut client, nth), None, "{nth}");
    }
    assert_eq!(
        client.due(),
        Some(seconds(195)),
        "45 s after the first look"
    );
    assert_eq!(minute(&mut client, 7), Some(CloseReason::Stalled));

    // Where nothing waits, there is nothing to ask for.
    let mut client = Client::polling(V4);
    for nth in 1..10 {
        client.at(seconds(nth * 20));
        client.posts("3");
        client.session.outbox.clear();
        assert_eq!(client.ending(), None);
    }
}

#[test]
fn only_the_websocket_that_counts_can_stall() {
    let mut client = Client::polling(V4);
    let probe = client.probes();
    assert_eq!(client.session.block(probe, client.now), None);
    client.session.unblock(probe);
    client.says(probe, "2probe");
    client.says(probe, "5");
    assert!(client.session.block(probe, client.now).is_some());
    client.session.close(CloseReason::Kicked);
    assert!(!client.session.is_stalled(probe));
    assert_eq!(client.session.block(probe, client.now), None);
}

#[test]
fn the_rest_of_what_has_begun_has_its_time() {
    // A frame that is cut, an event without its attachments: nothing else would end either.
    let begin: [fn(&mut Client, Link); 2] = [
        |client, link| {
            let due = client.session.expect_rest(link, true, false, client.now);
            assert_eq!(due, Some(client.now + seconds(30)));
        },
        |client, link| assert_eq!(client.says(link, r#"451-["message",{}]"#), None),
    ];
    for begin in begin {
        let (mut client, link) = Client::socket(V3);
        client.at(seconds(5));
        begin(&mut client, link);
        client.at(seconds(20));
        client.says(link, "2");
        begin_goes_on(&mut client, link);
        client.at(just_before(35));
        assert_eq!(client.ending(), None);
        client.at(seconds(35));
        assert_eq!(client.ending(), Some(CloseReason::BodyTimeout));
    }
}

/// What comes in between is no more of it.
fn begin_goes_on(client: &mut Client, link: Link) {
    if client.session.assembly.is_none() {
        client.session.expect_rest(link, true, false, client.now);
    }
}

#[test]
fn whoever_says_one_thing_after_the_other_has_all_the_time() {
    let (mut client, link) = Client::socket(V3);
    for second in 1..20 {
        client.at(seconds(second * 10));
        client.says(link, "2");
        // The message before has ended, and the next has begun.
        client.session.expect_rest(link, true, true, client.now);
    }
    client.says(link, r#"452-["message",{}]"#);
    for second in [215, 240] {
        client.at(seconds(second));
        client.session.handle_binary(link, &[4, 0], client.now);
    }
    assert_eq!(client.ending(), None);
    assert!(client.session.assembly.is_none());
    client.session.expect_rest(link, false, true, client.now);
    assert_eq!(client.session.rest_by, None);

    // Nor does time count in which the server itself does not read.
    client.session.expect_rest(link, true, false, client.now);
    client.session.leave_unread();
    client.at(seconds(280));
    assert_eq!(client.ending(), None);
    client.session.read_again(client.now);
    client.at(just_before(310));
    client.says(link, "2");
}

#[test]
fn a_probe_that_is_cut_short_is_nothing_to_its_session() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    assert_eq!(
        client.session.expect_rest(link, true, false, client.now),
        None
    );
    assert_eq!(client.session.rest_by, None);
    client.says(link, "2probe");
    client.says(link, "5");
    let due = client.session.expect_rest(link, true, true, client.now);
    assert_eq!(
        due,
        Some(client.now + seconds(30)),
        "it carries the session"
    );
}
