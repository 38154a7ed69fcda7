//! The server in actix-web: beside an application's own parts, and what is different there. That
//! signaling itself is the same, the scenarios of all other tests show.

#![cfg(all(feature = "actix", feature = "tower"))]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Exchange, Frame, Host, Peer, Polling, ROOM, Request, Revision, Site, Socket, Wire, decode,
    event, eventually, pair, run_actix, serve_axum, within,
};
use actix_web::middleware::{Compress, Logger};
use actix_web::web::{self, Data, PayloadConfig};
use actix_web::{App, HttpResponse, HttpServer};
use axum::Router;
use peer_data_server::actix::{mount, plain_json, socket_io};
use peer_data_server::{PeerData, PeerDataLayer};

/// Serves an `App` on a free port until the test ends.
macro_rules! serve {
    ($app:expr) => {
        serve!($app, |server| server.workers(1))
    };
    ($app:expr, $settings:expr) => {
        run_actix(move |listener| {
            let server = HttpServer::new(move || $app).disable_signals();
            let server = server.h1_allow_half_closed(false).tcp_nodelay(true);
            // A client that is still writing when it is answered may be slow.
            let server = server.client_disconnect_timeout(Duration::from_secs(60));
            tune(server, $settings)
                .listen(listener)
                .expect("a listener")
                .run()
        })
        .await
    };
}

/// Lets a closure be called whose parameter has no type that could be written.
fn tune<S>(server: S, settings: impl FnOnce(S) -> S) -> S {
    settings(server)
}

fn site(address: SocketAddr, server: &PeerData) -> Site {
    let server = server.clone();
    Site { address, server }
}

/// Whether a handshake at that path reaches the signaling.
async fn signals(address: SocketAddr, path: &str) -> bool {
    let target = format!("{path}?EIO=4&transport=polling");
    let answer = Request::get(&target).send(address).await;
    answer.status == 200 && answer.text().starts_with("0{\"sid\"")
}

/// Whether a plain JSON websocket can be opened at that path.
async fn speaks_json(address: SocketAddr, path: &str) -> bool {
    let mut exchange = Request::upgrade(path).start(address).await;
    exchange.response().await.status == 101
}

/// One peer at each address, all in a room and heard by each other.
async fn meet(addresses: &[SocketAddr], server: &PeerData) {
    let mut peers: Vec<Peer> = Vec::new();
    for (address, wire) in addresses.iter().zip(Wire::ALL.into_iter().cycle()) {
        let newcomer = Peer::join(&site(*address, server), wire, ROOM).await;
        for peer in &mut peers {
            assert_eq!(peer.signal().await["caller"]["id"], newcomer.id);
        }
        peers.push(newcomer);
    }
    for at in 0..peers.len() {
        peers[at].send(&event("CHAT", ROOM, at)).await;
        for (_, peer) in peers
            .iter_mut()
            .enumerate()
            .filter(|(other, _)| *other != at)
        {
            assert_eq!(peer.signal().await["payload"], at);
        }
    }
    for peer in peers {
        peer.vanish().await;
    }
    eventually("nobody", || server.peer_count() == 0).await;
}

async fn own() -> &'static str {
    "the application's own"
}

#[tokio::test]
async fn the_application_goes_on_beside_it() {
    let server = PeerData::new();
    let shared = server.clone();
    let visits = Data::new(AtomicUsize::new(0));
    let address = serve!(
        App::new()
            .wrap(Compress::default())
            .wrap(Logger::default())
            .app_data(visits.clone())
            // The application's bound for its own bodies is not signaling's.
            .app_data(PayloadConfig::new(20))
            .configure(mount(shared.clone()))
            .route(
                "/visits",
                web::get().to(async |visits: Data<AtomicUsize>| {
                    visits.fetch_add(1, Ordering::Relaxed).to_string()
                }),
            )
            .route("/echo", web::post().to(async |body: String| body))
            .default_service(web::to(async || HttpResponse::ImATeapot().finish()))
    );
    for round in 0..2 {
        meet(&[address; 5], &server).await;
        let visits = Request::get("/visits").send(address).await;
        assert_eq!(visits.text(), round.to_string());
    }
    let echo = Request::post("/echo", "hello").send(address).await;
    assert_eq!((echo.status, echo.text()), (200, "hello"));
    let long = Request::post("/echo", "x".repeat(21)).send(address).await;
    assert_eq!(long.status, 413);
    for path in [
        "/",
        "/socket.iox",
        "/peer-datax",
        "/x/socket.io/",
        "/socket",
    ] {
        let answer = Request::get(path).send(address).await;
        assert_eq!(answer.status, 418, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn polling_can_be_compressed_and_websockets_are_left_alone() {
    let server = PeerData::new();
    let address = serve!(
        App::new()
            .wrap(Compress::default())
            .configure(mount(server.clone()))
    );
    let answer = Request::get("/socket.io/?EIO=4&transport=polling")
        .header("Accept-Encoding", "gzip")
        .header("Connection", "close")
        .send(address)
        .await;
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (200, Some("gzip"))
    );
    let mut upgrade = Request::upgrade("/peer-data")
        .header("Accept-Encoding", "gzip")
        .start(address)
        .await;
    let answer = upgrade.response().await;
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (101, None)
    );
    upgrade.read_until(b"\"READY\"").await;
}

#[tokio::test]
async fn it_can_be_within_a_scope() {
    let server = PeerData::new();
    let address = serve!(
        App::new().service(
            web::scope("/api")
                .configure(mount(server.clone()))
                .route("/own", web::get().to(own))
        )
    );
    assert!(signals(address, "/api/socket.io/").await);
    assert!(signals(address, "/api/socket.io").await);
    assert!(speaks_json(address, "/api/peer-data").await);
    assert!(!signals(address, "/socket.io/").await);
    assert!(!speaks_json(address, "/peer-data").await);
    let answer = Request::get("/api/own").send(address).await;
    assert_eq!(answer.text(), "the application's own");
    let answer = Request::get("/api/else").send(address).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn the_services_answer_where_they_are_put() {
    // Their paths are their own, not the server's.
    let server = PeerData::new();
    let address = serve!(
        App::new()
            .service(socket_io("/any/path", server.clone()))
            .service(plain_json("/other/", server.clone()))
            .service(
                web::scope("/api")
                    .service(socket_io("/", server.clone()))
                    .route("/own", web::get().to(own))
            )
    );
    for path in [
        "/any/path",
        "/any/path/",
        "/any/path/x",
        "/api/",
        "/api/own",
    ] {
        assert!(signals(address, path).await, "{path}");
    }
    for path in ["/other", "/other/", "/other/x"] {
        assert!(speaks_json(address, path).await, "{path}");
    }
    for path in ["/", "/any", "/any/pathx", "/socket.io/", "/apix"] {
        assert_eq!(Request::get(path).send(address).await.status, 404, "{path}");
    }
    assert_eq!(Request::get("/otherx").send(address).await.status, 404);
}

#[tokio::test]
async fn paths_are_no_patterns() {
    let braces = "/{a}".repeat(40);
    for (engine, json, others) in [
        (
            "/{room}/io",
            "/{room:.*}",
            &["/x/io", "/{room}/iox", "/x"][..],
        ),
        (
            "/a{2}*",
            "/b.c*",
            &["/aa", "/a{2}", "/a{2}x", "/bxc*", "/b.c", "/b.cx"],
        ),
        ("/}{", "/{", &["/}", "/", "/{x}", "/}{x"]),
        ("/é{1}", "/\\d+{", &["/1{", "/é"]),
        (&*braces, "/(x)+|{", &["/a"]),
    ] {
        let server = PeerData::new();
        let paths = (engine.to_owned(), json.to_owned());
        let address = serve!(
            App::new()
                .service(socket_io(&paths.0, server.clone()))
                .service(plain_json(&paths.1, server.clone()))
        );
        // Beyond ASCII, URLs are encoded; routes are matched decoded.
        let encoded = engine.replace('é', "%C3%A9");
        for path in [encoded.clone(), encoded.clone() + "/", encoded + "/x"] {
            assert!(signals(address, &path).await, "{path}");
        }
        let encoded = json.replace('\\', "%5C");
        assert!(speaks_json(address, &encoded).await, "{json}");
        for path in others {
            let path = path.replace('é', "%C3%A9");
            let answer = Request::get(&path).send(address).await;
            assert_eq!(answer.status, 404, "{path} beside {engine} and {json}");
        }
    }
}

#[tokio::test]
async fn whoever_is_registered_first_answers() {
    let server = PeerData::new();
    let shared = server.clone();
    let first = serve!(
        App::new()
            .configure(mount(shared.clone()))
            .route("/{path:.*}", web::get().to(own))
    );
    assert!(signals(first, "/socket.io/").await);
    // As all of actix's routes, these are matched decoded.
    assert!(signals(first, "/socket%2eio/").await);
    assert!(speaks_json(first, "/peer-data").await);
    assert!(!signals(first, "/elsewhere").await);

    let shared = server.clone();
    let last = serve!(
        App::new()
            .route("/{path:.*}", web::get().to(own))
            .configure(mount(shared.clone()))
    );
    let answer = Request::get("/socket.io/?EIO=4&transport=polling")
        .send(last)
        .await;
    assert_eq!(answer.text(), "the application's own");

    // A default service is the last wherever it stands.
    let default = serve!(
        App::new()
            .default_service(web::to(own))
            .configure(mount(server.clone()))
    );
    assert!(signals(default, "/socket.io/").await);
    let answer = Request::get("/elsewhere").send(default).await;
    assert_eq!(answer.text(), "the application's own");
}

#[tokio::test]
async fn all_workers_share_the_rooms() {
    let server = PeerData::new();
    let shared = server.clone();
    let address = serve!(
        App::new().configure(mount(shared.clone())).route(
            "/worker",
            web::get().to(async || format!("{:?}", thread::current().id()))
        ),
        |server| server.workers(3)
    );
    // Connections go from worker to worker; without that this test would show nothing.
    let mut workers = Vec::new();
    for _ in 0..9 {
        let answer = Request::get("/worker").send(address).await;
        workers.push(answer.text().to_owned());
    }
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), 3);
    meet(&[address; 10], &server).await;
}

#[tokio::test]
async fn rooms_are_shared_with_the_tower_side() {
    let server = PeerData::new();
    let layer = PeerDataLayer::from(server.clone());
    let axum = serve_axum(Router::new().layer(layer)).await;
    let shared = server.clone();
    let actix = serve!(App::new().configure(mount(shared.clone())));
    meet(&[axum, actix, actix, axum, axum, actix, axum], &server).await;

    // A session is at home on both: it can be opened here, polled and posted to there.
    let (mut client, _) = Polling::connect(&site(axum, &server), Revision::V4).await;
    let mut get = Request::get(&client.target()).start(actix).await;
    site(actix, &server).catch_up().await;
    client.post(&["42[\"message\",null]"]).await;
    let answer = get.response().await;
    let packets = decode(Revision::V4, &answer);
    assert!(packets.len() == 1 && answer.text().contains("malformed"));
    client.take(&answer);
    let mut probe = Socket::open(actix, &client.upgrade_target()).await;
    probe.send("2probe").await;
    assert_eq!(probe.text().await, "3probe");
}

#[tokio::test]
async fn an_upload_over_the_maximum_is_refused() {
    let server = PeerData::builder().max_message(100_000).build();
    let server = server.expect("good settings");
    let shared = server.clone();
    let address = serve!(App::new().configure(mount(shared.clone())));
    let body = "x".repeat(5_000_000);
    let chunk = format!("{:x}\r\n{body}\r\n", body.len());
    for announced in [true, false] {
        let (client, _) = Polling::connect(&site(address, &server), Revision::V4).await;
        let mut exchange = if announced {
            Request::post(&client.target(), body.clone())
        } else {
            Request::post(&client.target(), "")
                .header("Transfer-Encoding", "chunked")
                .followed_by(chunk.as_bytes())
        }
        .start(address)
        .await;
        assert_eq!(exchange.response().await.status, 413);
        // The session was not harmed.
        client.post(&["1"]).await;
    }
}

#[tokio::test]
async fn a_stalled_receiver_stops_nobody() {
    let site = Host::Actix.start().await;
    let _stalled = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    let (mut speaker, mut listener) = pair(&site, Wire::Json).await;
    let filler = "x".repeat(500_000);
    for _ in 0..40 {
        speaker.send(&event("CHAT", ROOM, &*filler)).await;
        // The stalled one is put out at some time, which both are told.
        while listener.signal().await["type"] != "CHAT" {}
    }
}

#[tokio::test]
async fn garbage_ends_its_connection_and_no_other() {
    let site = Host::Actix.start().await;
    let (mut one, mut other) = pair(&site, Wire::Json).await;
    // Behind an upgrade: answered by a close frame, 1002, though much more follows.
    for path in ["/peer-data", "/socket.io/?EIO=4&transport=websocket"] {
        let mut socket = Request::upgrade(path).start(site.address).await;
        assert_eq!(socket.response().await.status, 101);
        socket.write(&vec![0xff; 1_000_000]).await;
        socket.read_until(&[0x88, 2, 0x03, 0xea]).await;
    }
    // In place of a request, and in one.
    let mut exchange = Exchange::connect(site.address).await;
    exchange.write(&[0xff; 100]).await;
    assert_eq!(exchange.response().await.status, 400);
    let mut exchange = Exchange::connect(site.address).await;
    exchange
        .write(b"GET /socket.io/?EIO=4&transport=polling&sid=\xff\xfe HTTP/1.1\r\n\r\n")
        .await;
    assert_eq!(exchange.response().await.status, 400);

    one.send(&event("CHAT", ROOM, 1)).await;
    assert_eq!(other.signal().await["payload"], 1);
    eventually("the others", || site.server.peer_count() == 2).await;
}

/// Of some requests that ask for a websocket actix keeps the rest to itself: what it would write
/// after a 101 were chunks, and no frames.
#[tokio::test]
async fn only_a_connection_that_actix_lets_go_becomes_a_websocket() {
    let server = PeerData::new();
    let shared = server.clone();
    let address = serve!(App::new().configure(mount(shared.clone())));
    let doors = [
        ("/peer-data", 426),
        ("/socket.io/?EIO=3&transport=websocket", 400),
        ("/socket.io/?EIO=4&transport=websocket", 400),
    ];
    for (target, refused) in doors {
        for (headers, status) in [
            ("Upgrade: websocket\r\n", 101),
            ("upgrade:  WebSocket \r\n", 101),
            ("Upgrade: h2c\r\nUpgrade: websocket\r\n", 101),
            ("Upgrade: websocket\r\nContent-Length: 0\r\n", 101),
            ("Upgrade: h2c, websocket\r\n", refused),
            ("Upgrade: websocket, h2c\r\n", refused),
            ("Upgrade: websocket/13\r\n", refused),
            (
                "Upgrade: websocket\r\nTransfer-Encoding: chunked\r\n",
                refused,
            ),
            ("Upgrade: websocket\r\nContent-Length: 6\r\n", refused),
        ] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: site.test\r\nConnection: Upgrade\r\n{headers}\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            let mut exchange = Exchange::connect(address).await;
            exchange.write(request.as_bytes()).await;
            let answer = exchange.response().await;
            assert_eq!(answer.status, status, "{target}: {headers}");
            if status == 101 {
                // The first byte of a text frame, not the length of a chunk.
                assert_eq!(exchange.read_exactly(1).await, [0x81], "{headers}");
            }
        }
    }
}

/// actix keeps its end of a connection that signaling has ended until the client hangs up or
/// `client_disconnect_timeout` is over; a session never waits for that.
#[tokio::test]
async fn the_connection_of_an_ended_session_lingers() {
    let server = PeerData::new();
    let shared = server.clone();
    let address = serve!(App::new().configure(mount(shared.clone())), |server| server
        .workers(1)
        .client_disconnect_timeout(Duration::from_secs(2)));
    let mut socket = Request::upgrade("/peer-data").start(address).await;
    assert_eq!(socket.response().await.status, 101);
    eventually("a peer", || server.peer_count() == 1).await;
    let begun = Instant::now();
    // A close frame with the code 1000, masked with zeros.
    socket.write(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).await;
    socket.read_until(&[0x88, 2, 0x03, 0xe8]).await;
    eventually("no peer", || server.peer_count() == 0).await;
    within("the end", socket.read_to_end()).await;
    // Its clock goes by half seconds.
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// By default actix lets a client close its half of a connection and wait, which looks just like
/// one that has hung up. Of a waiting GET it is the heartbeat that finds out.
#[tokio::test]
async fn a_cut_get_is_noticed_late_where_half_closed_connections_are_allowed() {
    let server = PeerData::builder()
        .ping_interval(Duration::from_secs(1))
        .ping_timeout(Duration::from_secs(1))
        .build()
        .expect("good settings");
    let shared = server.clone();
    let address = serve!(App::new().configure(mount(shared.clone())), |server| server
        .workers(1)
        .h1_allow_half_closed(true));
    let site = site(address, &server);
    let begun = Instant::now();
    for revision in Revision::BOTH {
        let (client, _) = Polling::connect(&site, revision).await;
        drop(client.start_get().await);
    }
    eventually("the first to be missed", || server.peer_count() < 2).await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    eventually("nobody", || server.peer_count() == 0).await;
}

#[tokio::test]
async fn a_dropped_websocket_is_noticed_at_once() {
    for allowed in [true, false] {
        let server = PeerData::new();
        let shared = server.clone();
        let address = serve!(App::new().configure(mount(shared.clone())), move |server| {
            server.workers(1).h1_allow_half_closed(allowed)
        });
        let site = site(address, &server);
        let (peer, mut other) = pair(&site, Wire::Socket(Revision::V3)).await;
        let id = peer.id.clone();
        drop(peer);
        other.hears_departure(&id, ROOM).await;
        let mut socket = Socket::open(address, "/peer-data").await;
        assert!(matches!(socket.frame().await, Frame::Text(_)));
    }
}
