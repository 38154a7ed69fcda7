//! The inspector's JSON and its page, mounted in each way that there is. What the page makes of it is
//! tested in a browser.

#![cfg(all(feature = "tower", feature = "inspector"))]

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{
    Host, Peer, ROOM, Request, Response, Revision, Site, Wire, cluster, event, event_to,
    on_each_host, serve_axum, serve_hyper, within,
};
use axum::Router;
use peer_data_server::{Identity, Inspector, PeerData, Refused};
use serde_json::{Value, json};

on_each_host!(
    the_page_is_whole_and_runs_nothing_else,
    its_json_has_one_spelling,
    rooms_and_peers_are_listed,
    a_room_shows_its_members_and_their_calls,
    what_was_refused_and_ended_is_remembered,
    peers_are_disconnected_and_rooms_closed,
    what_is_not_there_is_said_so,
    names_are_the_applications_own,
);

/// An inspector beside the signaling that it looks at.
struct Inspected {
    site: Site,
    address: SocketAddr,
    prefix: &'static str,
}

impl Inspected {
    async fn start(host: Host) -> Self {
        let site = host.start().await;
        let inspector = Inspector::new(&site.server);
        Self::mount(host, site, inspector).await
    }

    async fn mount(host: Host, site: Site, inspector: Inspector) -> Self {
        let (address, prefix) = match host {
            Host::Axum | Host::AxumNested => {
                let app = Router::new().nest_service("/for/operators", inspector);
                (serve_axum(app).await, "/for/operators")
            }
            Host::Hyper => (serve_hyper(inspector).await, ""),
            #[cfg(feature = "actix")]
            Host::Actix => {
                let mount = move |config: &mut actix_web::web::ServiceConfig| {
                    let service =
                        peer_data_server::actix::inspector("/for/operators", inspector.clone());
                    config.service(service);
                };
                (
                    crate::support::serve_actix(1, mount).await,
                    "/for/operators",
                )
            }
        };
        Self {
            site,
            address,
            prefix,
        }
    }

    async fn ask(&self, method: &str, path: &str) -> Response {
        let target = format!("{}/{path}", self.prefix);
        Request::new(method, &target).send(self.address).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        serde_json::from_str(answer.text()).expect("JSON")
    }

    async fn change(&self, path: &str) -> Value {
        let target = format!("{}/{path}", self.prefix);
        let request = Request::new("POST", &target).header("x-peer-data-inspector", "1");
        let answer = request.send(self.address).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_str(answer.text()).expect("JSON")
    }

    async fn join(&self, wire: Wire) -> Peer {
        Peer::join(&self.site, wire, ROOM).await
    }
}

/// One member of each row.
fn column<'a>(list: &'a Value, name: &str) -> Vec<&'a Value> {
    let rows = list["rows"].as_array().expect("rows");
    rows.iter().map(|row| &row[name]).collect()
}

async fn the_page_is_whole_and_runs_nothing_else(host: Host) {
    let inspected = Inspected::start(host).await;
    for path in ["", "/"] {
        let target = format!("{}{path}", inspected.prefix);
        let target = if target.is_empty() { "/" } else { &target };
        let answer = Request::get(target).send(inspected.address).await;
        assert_eq!(answer.status, 200, "{target}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"));
        assert!(!policy.contains("unsafe"), "{policy}");
        let page = answer.text();
        for outside in ["src=", "//cdn", "@import", "/* script */", "/* style */"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}

async fn its_json_has_one_spelling(host: Host) {
    let inspected = Inspected::start(host).await;
    for other in [
        "%61pi/overview",
        "api%2foverview",
        "api//overview",
        "///api/overview",
    ] {
        let status = inspected.ask("GET", other).await.status;
        assert_eq!(status, 404, "{other}");
    }
}

async fn rooms_and_peers_are_listed(host: Host) {
    let inspected = Inspected::start(host).await;
    let empty = inspected.get("api/rooms").await;
    assert_eq!(
        empty,
        json!({"total": 0, "number": 0, "pages": 1, "rows": []})
    );
    let mut ann = inspected.join(Wire::Json).await;
    let ben = inspected.join(Wire::Polling(Revision::V3)).await;
    assert_eq!(ann.signal().await["type"], "CONNECT");
    ann.enter(&inspected.site, "attic").await;

    let rooms = inspected.get("api/rooms?sort=members&order=desc").await;
    assert_eq!(column(&rooms, "room"), [ROOM, "attic"]);
    assert_eq!(column(&rooms, "members"), [2, 1]);
    assert_eq!(column(&rooms, "elsewhere"), [0, 0]);
    let rooms = inspected.get("api/rooms?search=ATT").await;
    assert_eq!(column(&rooms, "room"), ["attic"]);

    let peers = inspected.get("api/peers?sort=id&size=1&page=1").await;
    let mut ids = [ann.id.as_str(), ben.id.as_str()];
    ids.sort_unstable();
    assert_eq!(column(&peers, "id"), [ids[1]]);
    assert_eq!((&peers["total"], &peers["pages"]), (&json!(2), &json!(2)));
    let peers = inspected.get(&format!("api/peers?search={}", ann.id)).await;
    let row = &peers["rows"][0];
    assert_eq!(
        (&row["wire"], &row["transport"]),
        (&json!("json"), &json!("websocket"))
    );
    assert_eq!((&row["rooms"], &row["name"]), (&json!(2), &Value::Null));
    assert_eq!(row["events"], 2, "two CONNECTs");
    assert_eq!(row["deliveries"], 1, "one CONNECT");
    for counted in ["received", "sent", "age"] {
        assert!(row[counted].as_f64().expect("a number") > 0.0, "{counted}");
    }
    let peers = inspected.get(&format!("api/peers?search={}", ben.id)).await;
    let row = &peers["rows"][0];
    assert_eq!(
        (&row["wire"], &row["transport"]),
        (&json!("socket.io 2"), &json!("polling"))
    );
    assert!(row["received"].as_u64() > Some(0) && row["sent"].as_u64() > Some(0));
}

async fn a_room_shows_its_members_and_their_calls(host: Host) {
    let inspected = Inspected::start(host).await;
    let mut ann = inspected.join(Wire::Json).await;
    let mut ben = inspected.join(Wire::Socket(Revision::V4)).await;
    ann.signal().await;
    let counts = |room: &Value| (room["pairs_total"].clone(), room["pairs_begun"].clone());
    let room = inspected.get("api/room?name=r").await;
    assert_eq!(counts(&room), (json!(1), json!(0)));
    ann.send(&event_to(&ben.id, "OFFER", ROOM, 1)).await;
    ben.signal().await;
    let room = inspected.get("api/room?name=r").await;
    assert_eq!(counts(&room), (json!(1), json!(1)));
    let shown = json!([{
        "from": ann.id, "to": ben.id, "state": "offered", "candidates": [0, 0], "glare": false,
        "seconds": room["pairs"][0]["seconds"],
    }]);
    assert_eq!(room["pairs"], shown);
    ben.send(&event_to(&ann.id, "ANSWER", ROOM, 2)).await;
    ann.signal().await;
    ben.send(&event_to(&ann.id, "CANDIDATE", ROOM, 3)).await;
    ann.signal().await;
    let room = inspected.get("api/room?name=r").await;
    let pair = &room["pairs"][0];
    assert_eq!(
        (&pair["state"], &pair["candidates"]),
        (&json!("answered"), &json!([0, 1]))
    );
    let members = room["members"].as_array().expect("members");
    let ids: Vec<_> = members.iter().map(|member| &member["id"]).collect();
    assert_eq!(ids, [&ann.id, &ben.id], "oldest first");
    assert_eq!((&room["name"], &room["total"]), (&json!(ROOM), &json!(2)));

    let id = ben.id.clone();
    ben.vanish().await;
    ann.hears_departure(&id, ROOM).await;
    let room = inspected.get("api/room?name=r").await;
    assert_eq!((&room["pairs"], &room["total"]), (&json!([]), &json!(1)));
    let nobody = inspected.get("api/room?name=nowhere").await;
    assert_eq!(
        (&nobody["members"], &nobody["total"]),
        (&json!([]), &json!(0))
    );
}

async fn what_was_refused_and_ended_is_remembered(host: Host) {
    let inspected = Inspected::start(host).await;
    let mut ann = inspected.join(Wire::Json).await;
    ann.send(&event("CHAT", "elsewhere", 1)).await;
    assert_eq!(ann.signal().await["payload"]["code"], "not_in_room");
    let ben = inspected.join(Wire::Json).await;
    ann.signal().await;
    let id = ben.id.clone();
    ben.vanish().await;
    ann.hears_departure(&id, ROOM).await;
    let overview = inspected.get("api/overview").await;
    let [refused] = &overview["refusals"].as_array().expect("refusals")[..] else {
        panic!("{overview}");
    };
    assert_eq!(
        (&refused["what"], &refused["code"]),
        (&json!("rejected"), &json!("not_in_room"))
    );
    assert_eq!(refused["peer"], ann.id);
    let [ended] = &overview["endings"].as_array().expect("endings")[..] else {
        panic!("{overview}");
    };
    assert_eq!(
        (&ended["peer"], &ended["code"]),
        (&json!(id), &json!("transport_lost"))
    );
    assert_eq!(
        (&overview["peers"], &overview["rooms"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(overview["ready"], true);
}

async fn peers_are_disconnected_and_rooms_closed(host: Host) {
    let inspected = Inspected::start(host).await;
    let mut ann = inspected.join(Wire::Json).await;
    let ben = inspected.join(Wire::Json).await;
    ann.signal().await;
    let path = format!("api/disconnect?peer={}", ben.id);
    let unmarked = inspected.ask("POST", &path).await;
    assert_eq!(unmarked.status, 403);
    ann.hears_nothing(&inspected.site).await;
    assert_eq!(inspected.change(&path).await, json!({"disconnected": true}));
    ann.hears_departure(&ben.id, ROOM).await;
    assert_eq!(
        inspected.change(&path).await,
        json!({"disconnected": false})
    );
    let cleo = inspected.join(Wire::Json).await;
    ann.signal().await;
    let closed = inspected.change(&format!("api/close?room={ROOM}")).await;
    assert_eq!(closed, json!({"members": 2}));
    ann.hears_departure(&cleo.id, ROOM).await;
    assert!(inspected.site.members(ROOM).is_empty());
}

async fn what_is_not_there_is_said_so(host: Host) {
    let inspected = Inspected::start(host).await;
    for (method, path, status) in [
        ("GET", "api/none", 404),
        ("GET", "api", 404),
        ("GET", "page.js", 404),
        ("GET", "api/rooms/", 404),
        ("POST", "api/rooms", 405),
        ("DELETE", "api/close", 405),
        ("GET", "api/disconnect", 405),
        ("POST", "", 405),
        ("GET", "api/room", 400),
        ("GET", "api/room?name=", 400),
    ] {
        let answer = inspected.ask(method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        if status == 405 {
            assert!(answer.header("allow").is_some());
        }
    }
    let long = "x".repeat(300);
    let answer = inspected.ask("GET", &format!("api/room?name={long}")).await;
    assert_eq!(answer.status, 400);
    for path in [
        "api/disconnect",
        "api/disconnect?peer=%ff",
        "api/close?room=",
    ] {
        let target = format!("{}/{path}", inspected.prefix);
        let request = Request::new("POST", &target).header("x-peer-data-inspector", "1");
        assert_eq!(request.send(inspected.address).await.status, 400, "{path}");
    }
}

async fn names_are_the_applications_own(host: Host) {
    struct User(String);
    let named = |builder: peer_data_server::Builder| {
        builder.authorize(|hello| {
            let name = hello.credential("name");
            let who = name.map(|name| Identity::new(User(name.into_owned())));
            async move { who.ok_or_else(|| Refused::unauthorized("who are you?")) }
        })
    };
    let site = host.start_with(named).await;
    let inspector =
        Inspector::new(&site.server).name(|identity| identity.get::<User>().map(|it| it.0.clone()));
    let inspected = Inspected::mount(host, site, inspector).await;
    let address = inspected.site.address;
    let mut ann = crate::support::Socket::open(address, "/peer-data?name=Ann%20%3Ci%3E").await;
    ann.text().await;
    let stranger = crate::support::Socket::try_open(address, "/peer-data").await;
    assert_eq!(stranger.err(), Some(401));
    let peers = inspected.get("api/peers?search=ann").await;
    assert_eq!(column(&peers, "name"), ["Ann <i>"]);
    let overview = inspected.get("api/overview").await;
    let refused = &overview["refusals"][0];
    assert_eq!(
        (&refused["what"], &refused["code"]),
        (&json!("refused"), &json!("unauthorized"))
    );
    assert_eq!(refused["message"], "who are you?");
}

/// What is done shows in the samples, once, whether or not who did it is still there.
#[tokio::test]
async fn samples_add_up() {
    let inspected = Inspected::start(Host::Axum).await;
    let (mut ann, mut ben) = (
        inspected.join(Wire::Json).await,
        inspected.join(Wire::Json).await,
    );
    ann.signal().await;
    for number in 0..10 {
        ann.send(&event("CHAT", ROOM, number)).await;
        ben.signal().await;
    }
    ben.vanish().await;
    // Samples are taken by themselves.
    within("all is counted", async {
        loop {
            let overview = inspected.get("api/overview").await;
            let samples = overview["samples"].as_array().expect("samples");
            let sum = |name: &str| {
                samples
                    .iter()
                    .map(|sample| sample[name].as_u64().unwrap())
                    .sum()
            };
            let counts: [u64; 3] = [sum("events"), sum("deliveries"), sum("ended")];
            // Two CONNECTs and ten of CHAT; one CONNECT, ten of CHAT and one DISCONNECT.
            if counts == [12, 12, 1] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// What has been said long ago makes no room a busy one.
#[tokio::test]
async fn rooms_and_peers_are_sorted_by_what_goes_on_now() {
    let inspected = Inspected::start(Host::Axum).await;
    let mut idle = inspected.join(Wire::Json).await;
    for number in 0..1_000 {
        idle.send(&event("CHAT", ROOM, number)).await;
    }
    idle.send(&event("CHAT", "elsewhere", 0)).await;
    assert_eq!(idle.signal().await["type"], "ERROR", "all is read");
    let mut live = Peer::join(&inspected.site, Wire::Json, "live").await;
    within("the live room is the first", async {
        loop {
            live.send(&event("CHAT", "live", 0)).await;
            let rooms = inspected
                .get("api/rooms?sort=events_per_s&order=desc")
                .await;
            let peers = inspected
                .get("api/peers?sort=events_per_s&order=desc")
                .await;
            let lists = [(rooms, "room", "live"), (peers, "id", &*live.id)];
            let is_so = lists.iter().all(|(list, name, first)| {
                column(list, name)[0] == first && column(list, "events_per_s")[1] == 0.0
            });
            if is_so {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let overall = inspected.get("api/rooms?sort=events&order=desc").await;
    assert_eq!(column(&overall, "room"), [ROOM, "live"]);
}

#[tokio::test]
async fn members_at_other_nodes_are_counted() {
    let (_bus, [home, away]) = cluster().await;
    let inspector = Inspector::new(&home.site.server);
    let _here = home.join(Wire::Json).await;
    let _there = away.join(Wire::Json).await;
    home.sees(2).await;
    let inspected = Inspected {
        address: serve_hyper(inspector).await,
        site: home.site,
        prefix: "",
    };
    let rooms = inspected.get("api/rooms").await;
    assert_eq!(
        (column(&rooms, "members"), column(&rooms, "elsewhere")),
        (vec![&json!(1)], vec![&json!(1)])
    );
    let room = inspected.get(&format!("api/room?name={ROOM}")).await;
    assert_eq!((&room["total"], &room["elsewhere"]), (&json!(1), &json!(1)));
}

/// Nothing is kept for somebody who may come, and what is kept does not keep the server.
#[tokio::test]
async fn it_begins_when_it_is_made() {
    let site = Host::Axum.start().await;
    let mut ann = Peer::join(&site, Wire::Json, ROOM).await;
    ann.send(&event("CHAT", "elsewhere", 1)).await;
    ann.signal().await;
    let inspected = Inspected {
        address: serve_hyper(Inspector::new(&site.server)).await,
        site,
        prefix: "",
    };
    assert_eq!(inspected.get("api/overview").await["refusals"], json!([]));

    let server = PeerData::new();
    let mut lifecycle = server.lifecycle();
    drop(Inspector::new(&server));
    drop(server);
    let end = within("the server is gone", lifecycle.next()).await;
    assert!(end.is_none(), "{end:?}");
}
