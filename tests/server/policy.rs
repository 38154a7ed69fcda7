//! Who may connect, who may join, what may be said: the application decides.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    Exchange, Host, Peer, Polling, ROOM, Request, Revision, Socket, Wire, all_quiet, event,
    event_to, eventually, everybody, message, on_each_host, pair, within,
};
use peer_data_server::{
    Builder, Code, Hello, Identity, Namespace, Peer as Caller, Policy, Refused, RoomId, Verdict,
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

on_each_host!(
    whoever_says_the_word_is_let_in,
    a_refusal_is_said_in_the_way_of_each_wire,
    a_refused_client_may_say_it_again,
    nobody_waits_for_a_decision_for_ever,
    nobody_who_is_a_peer_waits_for_a_decision_for_ever,
    what_comes_before_the_decision_waits_for_it,
    each_namespace_is_asked_for,
    a_client_that_has_left_opens_a_new_session,
    a_room_is_entered_by_leave_only,
    later_events_wait_for_the_admission,
    the_admission_ends_with_its_peer,
    an_admission_takes_its_time_and_no_more,
    an_event_is_looked_at_before_it_goes_out,
    all_policies_are_asked_until_one_says_no,
);

/// The name that somebody was authorized under.
#[derive(Debug, PartialEq, Eq)]
struct Name(String);

/// Lets in whoever says a token that begins with `good`; it is his name.
async fn by_token(token: Option<String>) -> Result<Identity, Refused> {
    // So that nobody gets by with futures that are ready at once.
    tokio::task::yield_now().await;
    match token {
        Some(token) if token.starts_with("good") => Ok(Identity::new(Name(token))),
        Some(token) if token == "banned" => Err(Refused::forbidden("you are \"banned\"")),
        _ => Err(Refused::unauthorized("a good token is needed")),
    }
}

fn guarded(builder: Builder) -> Builder {
    builder.authorize(|hello: &Hello<'_>| {
        by_token(hello.credential("token").map(std::borrow::Cow::into_owned))
    })
}

fn name(peer: &Caller) -> Option<String> {
    peer.identity::<Name>().map(|name| name.0.clone())
}

/// A websocket of revision 4 that has asked to connect with that `auth`.
async fn knock(site: &crate::support::Site, auth: &str) -> Socket {
    let (mut socket, _) = Socket::engine(site, Revision::V4).await;
    socket.send(&format!("40{auth}")).await;
    socket
}

async fn whoever_says_the_word_is_let_in(host: Host) {
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let site = host
        .start_with(|builder| {
            guarded(builder).on_connect(move |peer, hello| {
                assert!(hello.handshake().header("host").is_some());
                seen.lock().unwrap().extend(name(peer));
            })
        })
        .await;
    let mut socket = knock(&site, r#"{"token":"good 4"}"#).await;
    assert!(socket.text().await.starts_with(r#"40{"sid":""#));

    let mut polling = Polling::open(&site, Revision::V4, "").await;
    polling.post(&[r#"40{"token":"good 4p"}"#]).await;
    assert!(polling.text().await.starts_with(r#"40{"sid":""#));

    let target = "/socket.io/?EIO=3&transport=websocket&token=good+3";
    let mut old = Socket::open(site.address, target).await;
    assert!(old.text().await.starts_with("0{"));
    assert_eq!(old.text().await, "40");

    let mut old = Polling::open(&site, Revision::V3, "&token=good%203p").await;
    assert_eq!(old.text().await, "40");

    let mut json = Socket::open(site.address, "/peer-data?token=good+json").await;
    assert!(json.text().await.contains("READY"));

    assert_eq!(site.server.peer_count(), 5);
    let names = names.lock().unwrap().clone();
    assert_eq!(
        names,
        ["good 4", "good 4p", "good 3", "good 3p", "good json"]
    );
    let found = site.server.peers();
    let mut found: Vec<_> = found.iter().filter_map(name).collect();
    found.sort();
    assert_eq!(
        found,
        ["good 3", "good 3p", "good 4", "good 4p", "good json"]
    );
}

async fn a_refusal_is_said_in_the_way_of_each_wire(host: Host) {
    let site = host.start_with(guarded).await;
    let data =
        r#"44{"message":"a good token is needed","data":{"code":"unauthorized"}}"#.to_owned();
    let forbidden = r#"44{"message":"you are \"banned\"","data":{"code":"refused"}}"#;

    assert_eq!(knock(&site, "").await.text().await, data);
    let auth = r#"{"token":"banned"}"#;
    assert_eq!(knock(&site, auth).await.text().await, forbidden);
    // What is said by auth is meant, whatever the query says.
    let target = "/socket.io/?EIO=4&transport=websocket&token=good";
    let mut socket = Socket::open(site.address, target).await;
    assert!(socket.text().await.starts_with("0{"));
    socket.send(r#"40{"token":7}"#).await;
    assert_eq!(socket.text().await, data);

    let mut polling = Polling::open(&site, Revision::V4, "").await;
    polling.post(&["40"]).await;
    assert_eq!(polling.text().await, data);

    let target = "/socket.io/?EIO=3&transport=websocket&token=banned";
    let mut old = Socket::open(site.address, target).await;
    assert!(old.text().await.starts_with("0{"));
    assert_eq!(old.text().await, r#"44"you are \"banned\"""#);
    let mut old = Polling::open(&site, Revision::V3, "").await;
    assert_eq!(old.text().await, r#"44"a good token is needed""#);

    // A program reads the status; of a failed handshake a page could read nothing.
    for (token, status, code) in [("bad", 401, 4401), ("banned", 403, 4403)] {
        let target = format!("/peer-data?token={token}");
        let answer = Request::upgrade(&target).send(site.address).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        let expected = if status == 401 {
            "a good token is needed"
        } else {
            "you are \"banned\""
        };
        assert_eq!(answer.text(), expected);

        let request = Request::upgrade(&target).header("origin", "https://page.test");
        let mut exchange = request.start(site.address).await;
        assert_eq!(head_status(&mut exchange).await, 101);
        let mut close = vec![0x88, u8::try_from(expected.len() + 2).unwrap()];
        close.extend(u16::to_be_bytes(code));
        close.extend(expected.as_bytes());
        assert_eq!(exchange.read_exactly(close.len()).await, close);
    }
    assert_eq!(site.server.peer_count(), 0);
}

async fn head_status(exchange: &mut Exchange) -> u16 {
    let head = exchange.read_until(b"\r\n\r\n").await;
    let head = String::from_utf8(head).unwrap();
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

async fn a_refused_client_may_say_it_again(host: Host) {
    let short = Duration::from_millis(600);
    let site = host
        .start_with(|builder| guarded(builder).connect_timeout(short))
        .await;
    let mut socket = knock(&site, "").await;
    assert!(socket.text().await.starts_with("44"));
    socket.send(r#"40{"token":"good"}"#).await;
    assert!(socket.text().await.starts_with("40"));

    // But not for ever.
    let mut late = knock(&site, "").await;
    assert!(late.text().await.starts_with("44"));
    assert_eq!(late.closed().await, Some(1008));
    let mut late = Polling::open(&site, Revision::V3, "").await;
    assert!(late.text().await.starts_with("44"));
    late.ended().await;
    assert_eq!(site.server.peer_count(), 1);
}

/// Counts those that are still there.
struct Present(Arc<AtomicUsize>);

impl Present {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn nobody_waits_for_a_decision_for_ever(host: Host) {
    let asked = Arc::new(AtomicUsize::new(0));
    let open = Arc::new(AtomicUsize::new(0));
    let (count, present) = (Arc::clone(&asked), Arc::clone(&open));
    let site = host
        .start_with(move |builder| {
            let short = Duration::from_millis(600);
            builder.connect_timeout(short).authorize(move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                let present = Present::new(&present);
                async move {
                    let _present = present;
                    pending().await
                }
            })
        })
        .await;
    let mut socket = knock(&site, "").await;
    assert_eq!(socket.closed().await, Some(1008));
    let mut polling = Polling::open(&site, Revision::V4, "").await;
    let answer = polling.post_body("40").await;
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    polling.ended().await;
    let mut old = Polling::open(&site, Revision::V3, "").await;
    assert!(old.text().await.starts_with("44"));
    let answer = Request::upgrade("/peer-data").send(site.address).await;
    assert_eq!(answer.status, 503);

    // Nor does the application for a client that has gone.
    assert_eq!(asked.load(Ordering::SeqCst), 4);
    eventually("no decision is left", || open.load(Ordering::SeqCst) == 0).await;
    assert_eq!(site.server.peer_count(), 0);
}

async fn nobody_who_is_a_peer_waits_for_a_decision_for_ever(host: Host) {
    let site = host
        .start_with(|builder| {
            let builder = builder.connect_timeout(Duration::from_millis(600));
            builder
                .namespace(Namespace::new("/staff"))
                .authorize(|hello: &Hello<'_>| {
                    let staff = hello.namespace() == "/staff";
                    async move {
                        if staff {
                            pending::<()>().await;
                        }
                        Ok(Identity::anonymous())
                    }
                })
        })
        .await;
    let busy =
        r#"44/staff,{"message":"the application did not decide in time","data":{"code":"busy"}}"#;
    let mut socket = knock(&site, "").await;
    assert!(socket.text().await.starts_with("40{"));
    socket.send("40/staff,").await;
    assert_eq!(socket.text().await, busy);
    let mut polling = Polling::open(&site, Revision::V4, "").await;
    polling.post(&["40"]).await;
    assert!(polling.text().await.starts_with("40{"));
    polling.post(&["40/staff,"]).await;
    assert_eq!(polling.text().await, busy);
    // Who they are already, they stay.
    assert_eq!(site.server.peer_count(), 2);
    let join = event("CONNECT", ROOM, 0);
    socket.send(&format!("421[\"message\",{join}]")).await;
    assert!(socket.text().await.starts_with(r#"431[{"ok":true"#));
}

async fn what_comes_before_the_decision_waits_for_it(host: Host) {
    let gate = Arc::new(Semaphore::new(0));
    let hook = Arc::clone(&gate);
    let site = host
        .start_with(move |builder| {
            builder.authorize(move |_| {
                let gate = Arc::clone(&hook);
                async move {
                    gate.acquire().await.expect("an open gate").forget();
                    Ok(Identity::anonymous())
                }
            })
        })
        .await;
    let join = format!("421[\"message\",{}]", event("CONNECT", ROOM, 0));
    let chat = format!("422[\"message\",{}]", event("CHAT", ROOM, 1));

    let mut socket = knock(&site, "").await;
    socket.send(&join).await;
    socket.send(&chat).await;
    let mut polling = Polling::open(&site, Revision::V4, "").await;
    let target = polling.target();
    let body = format!("40\x1e{join}\x1e{chat}");
    let mut post = Request::post(&target, body).start(site.address).await;
    site.catch_up().await;
    assert_eq!(site.server.peer_count(), 0);

    gate.add_permits(1);
    eventually("one is let in", || site.server.peer_count() == 1).await;
    gate.add_permits(1);
    post.response().await.is_ok();
    for text in [socket.text().await, polling.text().await] {
        assert!(text.starts_with("40{"), "{text}");
    }
    for ack in ["431[{\"ok\":true", "432[{\"ok\":true"] {
        loop {
            let text = socket.text().await;
            if text.starts_with(ack) {
                break;
            }
            assert!(text.starts_with("42"), "{text}");
        }
    }
    let mut acks = Vec::new();
    while acks.len() < 2 {
        let text = polling.text().await;
        if text.starts_with("43") {
            acks.push(text);
        }
    }
    assert!(acks[0].starts_with("431[{\"ok\":true") && acks[1].starts_with("432[{\"ok\":true"));
}

async fn each_namespace_is_asked_for(host: Host) {
    let site = host
        .start_with(|builder| {
            builder
                .namespace(Namespace::new("/staff"))
                .authorize(|hello| {
                    let staff = hello.namespace() == "/staff";
                    let known = hello.credential("token").is_some();
                    assert!(hello.handshake().header("host").is_some());
                    async move {
                        if staff && !known {
                            return Err(Refused::unauthorized("staff only"));
                        }
                        Ok(Identity::anonymous())
                    }
                })
        })
        .await;
    let (mut socket, _) = Socket::connect(&site, Revision::V4).await;
    socket.send("40/staff,").await;
    assert_eq!(
        socket.text().await,
        r#"44/staff,{"message":"staff only","data":{"code":"unauthorized"}}"#
    );
    socket.send(r#"40/staff,{"token":"x"}"#).await;
    assert!(socket.text().await.starts_with("40/staff,{"));

    let (mut old, _) = Socket::connect(&site, Revision::V3).await;
    old.send("40/staff,").await;
    assert_eq!(old.text().await, r#"44/staff,"staff only""#);
}

async fn a_client_that_has_left_opens_a_new_session(host: Host) {
    let site = host.start_with(guarded).await;
    let auth = r#"{"token":"good"}"#;
    let mut socket = knock(&site, auth).await;
    assert!(socket.text().await.starts_with("40"));
    socket.send("41").await;
    socket.send(&format!("40{auth}")).await;
    let refused = socket.text().await;
    assert!(
        refused.starts_with("44") && refused.contains("new session"),
        "{refused}"
    );
    eventually("it has left", || site.server.peer_count() == 0).await;
}

async fn a_room_is_entered_by_leave_only(host: Host) {
    let site = host
        .start_with(|builder| {
            builder.admit(|peer: &Caller, room: &RoomId| {
                assert_eq!(peer.rooms().len(), 0);
                let answer = match room.as_str() {
                    "secret" => Err(Refused::forbidden("by invitation only")),
                    "full" => Err(Refused::new(Code::RoomFull, "no seats")),
                    _ => Ok(()),
                };
                async move { answer }
            })
        })
        .await;
    for wire in Wire::ALL {
        let mut peer = Peer::connect(&site, wire).await;
        for (room, code, message) in [
            ("secret", "refused", "by invitation only"),
            ("full", "room_full", "no seats"),
        ] {
            let connect = event("CONNECT", room, Value::Null);
            if wire == Wire::Json {
                peer.send(&connect).await;
            } else {
                let ack = peer.ask(&connect).await;
                let expected = json!({"ok": false, "code": code, "message": message});
                assert_eq!(ack, expected);
            }
            let error = peer.signal().await;
            let expected = json!({"code": code, "message": message});
            assert_eq!(
                (&error["type"], &error["payload"]),
                (&json!("ERROR"), &expected)
            );
            assert_eq!(error["room"]["id"], room);
            assert!(site.members(room).is_empty());
        }
        peer.enter(&site, ROOM).await;
        leave(&site, peer, ROOM).await;
    }
}

/// A peer goes; returns once the room is empty of it.
async fn leave(site: &crate::support::Site, peer: Peer, room: &str) {
    let id = peer.id.clone();
    peer.vanish().await;
    eventually("it has left", || !site.members(room).contains(&id)).await;
}

/// A server whose rooms called `slow…` are entered once the gate lets one in.
async fn gated(host: Host) -> (crate::support::Site, Arc<Semaphore>, Arc<AtomicUsize>) {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (hook, count) = (Arc::clone(&gate), Arc::clone(&waiting));
    let site = host
        .start_with(move |builder| {
            builder.admit(move |_, room| {
                let slow = room.as_str().starts_with("slow");
                let gate = Arc::clone(&hook);
                let present = slow.then(|| Present::new(&count));
                async move {
                    let _present = present;
                    if slow {
                        gate.acquire().await.expect("an open gate").forget();
                    }
                    Ok(())
                }
            })
        })
        .await;
    (site, gate, waiting)
}

async fn later_events_wait_for_the_admission(host: Host) {
    let (site, gate, waiting) = gated(host).await;
    let (mut ann, mut ben) = pair(&site, Wire::Json).await;
    for wire in Wire::ALL {
        let mut peer = Peer::connect(&site, wire).await;
        let events: Vec<Value> = [("CONNECT", 0), ("CHAT", 1), ("CHAT", 2), ("DISCONNECT", 3)]
            .into_iter()
            .map(|(kind, number)| event(kind, "slow", number))
            .collect();
        let mut witness = Peer::connect(&site, Wire::Socket(Revision::V4)).await;
        gate.add_permits(1);
        witness.enter(&site, "slow").await;

        let sender = tokio::spawn(async move {
            for event in events {
                peer.send(&event).await;
            }
            peer
        });
        eventually("it waits", || waiting.load(Ordering::SeqCst) == 1).await;
        assert_eq!(site.members("slow").len(), 1);
        // Others do not.
        ann.send(&event("CHAT", ROOM, "meanwhile")).await;
        assert_eq!(ben.signal().await["payload"], "meanwhile");
        assert_eq!(waiting.load(Ordering::SeqCst), 1);

        gate.add_permits(1);
        for (kind, number) in [("CONNECT", 0), ("CHAT", 1), ("CHAT", 2), ("DISCONNECT", 3)] {
            let heard = witness.signal().await;
            assert_eq!(
                (&heard["type"], &heard["payload"]),
                (&json!(kind), &json!(number)),
                "{wire:?}"
            );
        }
        let peer = within("everything is sent", sender)
            .await
            .expect("no panic");
        leave(&site, peer, "slow").await;
        leave(&site, witness, "slow").await;
    }
    all_quiet(&site, &mut [ann, ben]).await;
}

async fn the_admission_ends_with_its_peer(host: Host) {
    let (site, gate, waiting) = gated(host).await;
    // Shown the door meanwhile.
    for wire in [Wire::Socket(Revision::V4), Wire::Json] {
        let mut peer = Peer::connect(&site, wire).await;
        peer.send(&event("CONNECT", "slow", 0)).await;
        eventually("it waits", || waiting.load(Ordering::SeqCst) == 1).await;
        for peer in site.server.peers() {
            assert!(peer.disconnect());
        }
        eventually("it is gone", || waiting.load(Ordering::SeqCst) == 0).await;
        eventually("no peer is left", || site.server.peer_count() == 0).await;
    }
    // Long-polling: the POST that asks is cut.
    let (polling, _) = Polling::connect(&site, Revision::V4).await;
    let body = message(&event("CONNECT", "slow", 0));
    let post = Request::post(&polling.target(), body);
    let post = post.start(site.address).await;
    eventually("it waits", || waiting.load(Ordering::SeqCst) == 1).await;
    drop(post);
    eventually("it is gone", || waiting.load(Ordering::SeqCst) == 0).await;
    eventually("its session too", || site.server.peer_count() == 0).await;
    gate.add_permits(1);
    site.catch_up().await;
    assert_eq!(site.server.room_count(), 0);
}

async fn an_admission_takes_its_time_and_no_more(host: Host) {
    let site = host
        .start_with(|builder| {
            builder
                .admit_timeout(Duration::from_millis(20))
                .admit(|_, _| pending())
        })
        .await;
    let mut peer = Peer::connect(&site, Wire::Socket(Revision::V3)).await;
    let ack = peer.ask(&event("CONNECT", ROOM, 0)).await;
    assert_eq!(ack["code"], "busy");
    assert_eq!(peer.signal().await["payload"]["code"], "busy");
    assert_eq!(site.server.room_count(), 0);
}

async fn an_event_is_looked_at_before_it_goes_out(host: Host) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let site = host
        .start_with(move |builder| {
            builder.relay(move |peer, event| {
                assert_eq!(peer.id(), event.caller);
                let callee = event.callee.map(|id| id.to_string());
                let payload = event.payload.map(str::to_owned);
                let note = (
                    event.kind.to_owned(),
                    event.room.to_owned(),
                    callee,
                    payload,
                );
                notes.lock().unwrap().push(note);
                match event.payload {
                    Some("\"no\"") => Verdict::Refuse(Code::TooLarge),
                    Some("\"lost\"") => Verdict::Drop,
                    _ => Verdict::Relay,
                }
            })
        })
        .await;
    for wire in Wire::SOCKET_IO {
        let (mut peer, mut other) = pair(&site, wire).await;
        seen.lock().unwrap().clear();
        let id = other.id.clone();
        let directed = |kind: &str, payload| event_to(&id, kind, ROOM, payload);
        for kind in ["OFFER", "ANSWER", "CANDIDATE", "CHAT"] {
            let refused = peer.ask(&directed(kind, "no")).await;
            assert_eq!(refused["code"], "too_large");
            assert_eq!(peer.signal().await["type"], "ERROR");
            let dropped = peer.ask(&directed(kind, "lost")).await;
            assert_eq!(
                (&dropped["ok"], &dropped["delivered"]),
                (&json!(true), &json!(0))
            );
            let sent = peer.ask(&directed(kind, "yes")).await;
            assert_eq!(sent["delivered"], 1);
            let heard = other.signal().await;
            assert_eq!(
                (&heard["type"], &heard["payload"]),
                (&json!(kind), &json!("yes"))
            );
        }
        // Nobody is asked about what goes nowhere anyway.
        let before = seen.lock().unwrap().len();
        let stranger = event_to(&id, "OFFER", "elsewhere", 1);
        assert_eq!(peer.ask(&stranger).await["code"], "not_in_room");
        assert_eq!(peer.signal().await["type"], "ERROR");
        assert_eq!(seen.lock().unwrap().len(), before);
        let seen: Vec<_> = std::mem::take(&mut *seen.lock().unwrap());
        let to = |kind: &str| (kind != "CHAT").then(|| id.clone());
        let expected: Vec<_> = ["OFFER", "ANSWER", "CANDIDATE", "CHAT"]
            .into_iter()
            .flat_map(|kind| {
                ["no", "lost", "yes"].map(|payload| {
                    let payload = Some(format!("{payload:?}"));
                    (kind.to_owned(), ROOM.to_owned(), to(kind), payload)
                })
            })
            .collect();
        assert_eq!(seen, expected);
        leave(&site, peer, ROOM).await;
        leave(&site, other, ROOM).await;
    }
}

/// Gives everybody a name, and has a say in nothing else.
struct Named(&'static str);

impl Policy for Named {
    async fn authorize(&self, _: &Hello<'_>) -> Result<Identity, Refused> {
        Ok(Identity::new(Name(self.0.to_owned())))
    }
}

async fn all_policies_are_asked_until_one_says_no(host: Host) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = |who: &'static str| {
        let asked = Arc::clone(&asked);
        move || asked.lock().unwrap().push(who)
    };
    let (first, second, third) = (log("first"), log("second"), log("third"));
    let site = host
        .start_with(move |builder| {
            builder
                .authorize(|_| async { Ok(Identity::anonymous()) })
                .policy(Named("the first name"))
                .policy(Named("the second name"))
                .relay(move |_, _| {
                    first();
                    Verdict::Relay
                })
                .relay(move |peer, event| {
                    second();
                    assert_eq!(name(peer).as_deref(), Some("the first name"));
                    match event.kind {
                        "CHAT" => Verdict::Refuse(Code::RateLimited),
                        _ => Verdict::Relay,
                    }
                })
                .relay(move |_, _| {
                    third();
                    Verdict::Drop
                })
        })
        .await;
    let mut peers = everybody(&site, ROOM).await;
    let peer = &mut peers[0];
    assert_eq!(
        peer.ask(&event("CHAT", ROOM, 0)).await["code"],
        "rate_limited"
    );
    assert_eq!(peer.signal().await["type"], "ERROR");
    assert_eq!(peer.ask(&event("NEWS", ROOM, 0)).await["delivered"], 0);
    all_quiet(&site, &mut peers).await;
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, ["first", "second", "first", "second", "third"]);
}
