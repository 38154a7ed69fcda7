//! What stands between clients and the server: proxies that say for whom they speak, and load
//! balancers that know a session by its cookie.

#![cfg(feature = "tower")]

use std::net::{IpAddr, SocketAddr};

use crate::support::{Host, Polling, Request, Response, Revision, Site, in_each_revision};
use axum::Router;
use axum::extract::{ConnectInfo, Request as AxumRequest};
use axum::middleware::{Next, from_fn};
use peer_data_server::{Builder, ClientAddress, PeerData, PeerDataLayer};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

in_each_revision!(
    every_answer_of_a_session_carries_its_cookie,
    without_the_setting_there_is_no_cookie,
);

/// The only cookie that an answer sets.
fn cookie(answer: &Response) -> Option<&str> {
    answer.header("set-cookie")
}

async fn every_answer_of_a_session_carries_its_cookie(host: Host, revision: Revision) {
    let site = host
        .start_with(|builder| builder.session_cookie("io"))
        .await;
    let number = revision.number();
    let open = format!("/socket.io/?EIO={number}&transport=polling");
    let opened = Request::get(&open).send(site.address).await;
    let sid = opened.text().split('"').nth(3).expect("a sid").to_owned();
    let expected = format!("io={sid}; Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(cookie(&opened), Some(&*expected));

    let target = format!("{open}&sid={sid}");
    let mut get = Request::get(&target).start(site.address).await;
    let connect = crate::support::encode(revision, &["40".into(), "40/nope,".into()]);
    let posted = Request::post(&target, connect).send(site.address).await;
    posted.is_ok();
    assert_eq!(cookie(&posted), Some(&*expected));
    let got = get.response().await;
    assert_eq!((got.status, cookie(&got)), (200, Some(&*expected)));
    let script = Request::get(&format!("{target}&j=0")).start(site.address);
    let mut script = script.await;
    let more = crate::support::encode(revision, &["40/nope,".into()]);
    Request::post(&target, more)
        .send(site.address)
        .await
        .is_ok();
    let script = script.response().await;
    assert!(script.text().starts_with("___eio[0]("), "{script:?}");
    assert_eq!(cookie(&script), Some(&*expected));

    // Nobody else's, and nothing that is no session.
    let other = Polling::open(&site, revision, "").await;
    let unknown = format!("{open}&sid=AAAAAAAAAAAAAAAAAAAA");
    for target in ["/socket.io/", &unknown] {
        let refused = Request::get(target).send(site.address).await;
        assert_eq!((refused.status, cookie(&refused)), (400, None));
    }
    assert_ne!(other.sid, sid);
    let socket = Request::upgrade(&other.upgrade_target()).start(site.address);
    let answer = socket.await.response().await;
    assert_eq!((answer.status, cookie(&answer)), (101, None));
}

async fn without_the_setting_there_is_no_cookie(host: Host, revision: Revision) {
    let site = host.start().await;
    let client = Polling::open(&site, revision, "").await;
    let posted = crate::support::encode(revision, &["6".into()]);
    let posted = Request::post(&client.target(), posted).send(site.address);
    assert_eq!(cookie(&posted.await), None);
    let number = revision.number();
    let open = format!("/socket.io/?EIO={number}&transport=polling");
    assert_eq!(cookie(&Request::get(&open).send(site.address).await), None);
}

/// A server that knows who connects to it, 127.0.0.1, and tells the address of each peer.
async fn site(settings: impl FnOnce(Builder) -> Builder) -> (Site, UnboundedReceiver<Seen>) {
    let (sender, seen) = unbounded_channel();
    let builder = settings(PeerData::builder()).on_connect(move |_, hello| {
        let handshake = hello.handshake();
        let cookie = handshake.header("cookie").map(str::to_owned);
        let seen = (handshake.address(), cookie);
        sender.send(seen).expect("a test that listens");
    });
    let server = builder.build().expect("good settings");
    let app = Router::new()
        .layer(PeerDataLayer::from(server.clone()))
        .layer(from_fn(tell));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    (Site { address, server }, seen)
}

type Seen = (Option<IpAddr>, Option<String>);

async fn tell(mut request: AxumRequest, next: Next) -> axum::response::Response {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let ConnectInfo(address) = *info.expect("a connection");
    request.extensions_mut().insert(ClientAddress(address));
    next.run(request).await
}

const OPEN: &str = "/socket.io/?EIO=3&transport=polling";

/// The address that the hook sees of a request with that `X-Forwarded-For`, on each transport.
async fn address(site: &Site, seen: &mut UnboundedReceiver<Seen>, said: &str) -> String {
    let open = Request::get(OPEN).header("X-Forwarded-For", said);
    assert_eq!(open.send(site.address).await.status, 200);
    let (polling, _) = seen.recv().await.expect("a peer");
    for target in ["/socket.io/?EIO=3&transport=websocket", "/peer-data"] {
        let upgrade = Request::upgrade(target).header("X-Forwarded-For", said);
        let mut socket = upgrade.start(site.address).await;
        assert_eq!(socket.response().await.status, 101);
        let (socket, _) = seen.recv().await.expect("a peer");
        assert_eq!(socket, polling, "{target}");
    }
    polling.expect("an address").to_string()
}

#[tokio::test]
async fn a_stranger_speaks_for_nobody() {
    for trusted in [&[][..], &["10.0.0.0/8", "127.0.0.2"]] {
        let settings = |builder: Builder| builder.trusted_proxies(trusted.iter().copied());
        let (site, mut seen) = site(settings).await;
        let found = address(&site, &mut seen, "203.0.113.9").await;
        assert_eq!(found, "127.0.0.1");
    }
}

#[tokio::test]
async fn a_trusted_proxy_speaks_for_its_clients() {
    let trusted = ["127.0.0.0/8", "10.0.0.1"];
    let (site, mut seen) = site(|builder| builder.trusted_proxies(trusted)).await;
    for (said, expected) in [
        ("203.0.113.9", "203.0.113.9"),
        ("198.51.100.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ("[2001:db8::9]:4711", "2001:db8::9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, unknown", "127.0.0.1"),
        // What is no text, before what a proxy added to it.
        ("\u{ff}, 203.0.113.9", "203.0.113.9"),
        ("", "127.0.0.1"),
    ] {
        let found = address(&site, &mut seen, said).await;
        assert_eq!(found, expected, "{said}");
    }
}

#[tokio::test]
async fn the_forwarded_host_is_the_servers_own_name() {
    for (trusted, status) in [("127.0.0.1", 200), ("127.0.0.2", 403)] {
        let settings = |builder: Builder| {
            let strict = builder.allowed_origins([""; 0]);
            strict.trusted_proxies([trusted])
        };
        let (site, mut seen) = site(settings).await;
        let open = Request::get(OPEN)
            .header("Cookie", "login=1")
            .header("Origin", "https://example.org");
        for host in ["example.org", "evil.test, EXAMPLE.org:443"] {
            let forwarded = open.clone().header("X-Forwarded-Host", host);
            let answer = forwarded.send(site.address).await;
            assert_eq!(answer.status, status, "{host}");
            if status == 200 {
                let (_, cookie) = seen.recv().await.expect("a peer");
                assert_eq!(cookie.as_deref(), Some("login=1"));
            }
        }
        for host in [
            "evil.test",
            "example.org, evil.test",
            "example.org:8443",
            "",
        ] {
            let forwarded = open.clone().header("X-Forwarded-Host", host);
            assert_eq!(forwarded.send(site.address).await.status, 403, "{host}");
        }
    }
}

#[tokio::test]
async fn a_page_cannot_speak_for_a_proxy() {
    let (site, _seen) = site(|builder| builder.trusted_proxies(["127.0.0.1"])).await;
    let preflight = Request::new("OPTIONS", OPEN)
        .header("Origin", "https://evil.test")
        .header("Access-Control-Request-Method", "GET")
        .header(
            "Access-Control-Request-Headers",
            "content-type,x-forwarded-for,x-forwarded-host",
        );
    let answer = preflight.send(site.address).await;
    let allowed = answer.header("access-control-allow-headers");
    assert_eq!((answer.status, allowed), (204, Some("content-type")));
}
