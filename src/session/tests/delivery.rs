//! Who is woken, and when.

use super::*;

fn signal() -> Signal {
    Signal::new("N", None, &1).unwrap()
}

#[test]
fn the_first_signal_of_a_batch_promises_to_wake_the_carrier() {
    let (mut client, link) = Client::socket(V3);
    client.hears(link);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
    assert_eq!(client.session.enqueue(&signal()), Ok(false), "promised");
    assert_eq!(client.woken(), 0, "that is the promiser's to do");
    client.session.take_carrier().unwrap().wake();
    assert_eq!(client.woken(), 1);
    assert!(client.session.take_carrier().is_none());
    assert_eq!(client.hears(link).len(), 2);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true), "and again");
}

#[test]
fn a_task_at_work_sees_to_the_mail_itself() {
    let (mut client, link) = Client::socket(V3);
    client.hears(link);
    assert!(client.registers(link));
    client.says(link, "2");
    assert_eq!(client.woken(), 0, "it looks again by itself");
    assert_eq!(client.session.enqueue(&signal()), Ok(false));
    assert!(client.session.take_carrier().is_none());
    assert!(!client.registers(link), "there is something to write");
    assert_eq!(client.session.enqueue(&signal()), Ok(false));
    assert_eq!(client.hears(link).len(), 3);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
}

#[test]
fn mail_for_a_socket_that_takes_nothing_wakes_nobody() {
    let (mut client, link) = Client::socket(V3);
    client.hears(link);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
    // Whoever writes it finds that the socket takes nothing, and leaves the rest to its task.
    client.session.stick(link).unwrap().wake();
    assert_eq!(client.woken(), 1);
    assert!(!client.is_idle(link, true));
    assert_eq!(client.session.enqueue(&signal()), Ok(false));
    assert!(client.session.take_carrier().is_none());
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.woken(), 1, "the end is told all the same");
}

#[test]
fn a_promise_holds_for_whoever_waits_by_then() {
    let (mut client, link) = Client::socket(V3);
    client.registers(link);
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
    // The carrier comes by itself before the promise is kept, takes all, and waits again.
    client.hears(link);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(false));
    client.session.take_carrier().unwrap().wake();
    assert_eq!(client.woken(), 1);
}

#[test]
fn a_step_of_the_servers_wakes_the_carrier() {
    let steps: [fn(&mut Client, Link); 4] = [
        |client, _| client.mail("4a"),
        |client, _| client.session.push_signal(&signal()),
        |client, _| client.session.close(CloseReason::Kicked),
        |client, _| {
            client
                .session
                .accept(Presence::main(id()), Identity::anonymous(), None);
        },
    ];
    for (nth, step) in steps.into_iter().enumerate() {
        let (mut client, link) = Client::socket(V3);
        assert!(client.registers(link));
        assert_eq!(client.woken(), 0);
        step(&mut client, link);
        assert_eq!(client.woken(), 1, "{nth}");
        step(&mut client, link);
        assert_eq!(client.woken(), 0, "{nth}: it has not come back yet");
    }
}

#[test]
fn a_step_that_changes_nothing_wakes_nobody() {
    let (mut client, link) = Client::socket(V3);
    assert!(client.registers(link));
    for text in ["42[1]", "6", "451-[1]", "b4AQID", "40", "41", "41"] {
        client.says(link, text);
        assert_eq!(client.woken(), 0, "{text}");
    }
}

#[test]
fn a_registered_task_is_told_of_what_is_there_already() {
    let (mut client, link) = Client::socket(V3);
    client.mail("4a");
    assert!(!client.registers(link));
    // It may be unable to write; the end must reach it all the same.
    assert!(!client.is_idle(link, true));
    client.woken();
    assert!(!client.is_idle(link, true));
    client.session.close(CloseReason::SlowConsumer);
    assert_eq!(client.woken(), 1);
    assert!(!client.registers(link));
}

#[test]
fn a_probes_task_is_woken_for_its_own_affairs() {
    let mut client = Client::polling(V3);
    let link = client.probes();
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
    assert!(client.session.take_carrier().is_none(), "no GET waits");
    assert_eq!(client.woken(), 0, "mail is not for it yet");
    client.says(link, "2probe");
    assert_eq!(client.woken(), 1);
    assert!(!client.registers(link), "there is an answer to write");
    client.hears(link);
    assert!(client.registers(link));
    client.says(link, "5");
    assert_eq!(client.woken(), 1);
    assert!(!client.registers(link), "there is mail");
    client.hears(link);
    assert!(client.registers(link));
    assert_eq!(client.session.enqueue(&signal()), Ok(true));
}

#[test]
fn all_who_wait_are_woken_by_the_end() {
    let mut client = Client::polling(V3);
    let ticket = client.gets();
    assert_eq!(client.answer(ticket), None);
    let link = client.probes();
    assert!(client.registers(link));
    client
        .session
        .wake_post(&Waker::from(Arc::clone(&client.tally)));
    client.session.close(CloseReason::Kicked);
    assert_eq!(client.woken(), 3);
    assert_eq!(Arc::strong_count(&client.tally), 1, "and all are let go");
}
