//! The JSON that the page is drawn from, and what it can do.

use std::cmp::Ordering;

use serde::Serialize;

use super::list::{MAX_SIZE, Order, Query, page};
use super::{Ask, Shared};
use crate::id::RoomId;
use crate::server::{Log, PairView, PeerView, Rate, RoomView};
use crate::wire::reply::Reply;

/// Members and pairs that are shown of one room.
const MAX_SHOWN: usize = MAX_SIZE;

#[derive(Serialize)]
struct Overview {
    version: &'static str,
    ready: bool,
    peers: usize,
    rooms: usize,
    #[serde(flatten)]
    log: Option<Log>,
}

#[derive(Serialize)]
struct Room {
    name: RoomId,
    /// At this node, of whom the first are shown; and at others.
    total: usize,
    elsewhere: usize,
    members: Vec<PeerView>,
    /// Of all members here; and between how many of them an offer is known.
    pairs_total: usize,
    pairs_begun: usize,
    pairs: Vec<PairView>,
}

#[derive(Serialize)]
struct Disconnected {
    disconnected: bool,
}

#[derive(Serialize)]
struct Closed {
    members: usize,
}

#[derive(Serialize)]
struct Problem {
    error: &'static str,
}

pub(super) fn answer(shared: &Shared, ask: &Ask) -> Reply {
    let query = Query(&ask.query);
    // In one spelling only: a guard that goes by the path must not miss another.
    let name = ask.path.strip_prefix('/').unwrap_or_default();
    let wanted = match name {
        "api/overview" | "api/rooms" | "api/peers" | "api/room" => "GET",
        "api/disconnect" | "api/close" => "POST",
        _ => return problem(404, "there is nothing of that name"),
    };
    if ask.method != wanted {
        return problem(405, "that is not done to it").with("allow", wanted);
    }
    if wanted == "POST" && !ask.is_marked {
        return problem(403, "the header x-peer-data-inspector is missing");
    }
    match name {
        "api/overview" => json(200, &overview(shared)),
        "api/rooms" => rooms(shared, &query),
        "api/peers" => peers(shared, &query),
        "api/room" => room(shared, &query),
        "api/disconnect" => disconnect(shared, &query),
        _ => close(shared, &query),
    }
}

fn overview(shared: &Shared) -> Overview {
    let server = &shared.server;
    Overview {
        version: env!("CARGO_PKG_VERSION"),
        ready: server.is_ready(),
        peers: server.peer_count(),
        rooms: server.room_count(),
        log: server.log(),
    }
}

fn rooms(shared: &Shared, query: &Query<'_>) -> Reply {
    let orders: [(&str, Order<RoomView>); 10] = [
        ("room", |a, b| a.room.as_str().cmp(b.room.as_str())),
        ("members", |a, b| a.members.cmp(&b.members)),
        ("elsewhere", |a, b| a.elsewhere.cmp(&b.elsewhere)),
        ("queue", |a, b| a.queue.cmp(&b.queue)),
        ("events", |a, b| a.usage.events.cmp(&b.usage.events)),
        ("received", |a, b| a.usage.received.cmp(&b.usage.received)),
        ("sent", |a, b| a.usage.sent.cmp(&b.usage.sent)),
        ("events_per_s", |a, b| by(a.rate, b.rate, |it| it.events)),
        ("received_per_s", |a, b| {
            by(a.rate, b.rate, |it| it.received)
        }),
        ("sent_per_s", |a, b| by(a.rate, b.rate, |it| it.sent)),
    ];
    let matches =
        |view: &RoomView, search: &str| view.room.as_str().to_lowercase().contains(search);
    json(
        200,
        &page(shared.server.view_rooms(), query, matches, &orders),
    )
}

fn peers(shared: &Shared, query: &Query<'_>) -> Reply {
    let orders: [(&str, Order<PeerView>); 13] = [
        ("age", |a, b| a.age.total_cmp(&b.age)),
        ("id", |a, b| a.id.as_str().cmp(b.id.as_str())),
        ("name", |a, b| a.name.cmp(&b.name)),
        ("wire", |a, b| a.wire.cmp(&b.wire)),
        ("transport", |a, b| a.transport.cmp(&b.transport)),
        ("rooms", |a, b| a.rooms.cmp(&b.rooms)),
        ("queue", |a, b| a.queue.cmp(&b.queue)),
        ("events", |a, b| a.usage.events.cmp(&b.usage.events)),
        ("received", |a, b| a.usage.received.cmp(&b.usage.received)),
        ("sent", |a, b| a.usage.sent.cmp(&b.usage.sent)),
        ("events_per_s", |a, b| by(a.rate, b.rate, |it| it.events)),
        ("received_per_s", |a, b| {
            by(a.rate, b.rate, |it| it.received)
        }),
        ("sent_per_s", |a, b| by(a.rate, b.rate, |it| it.sent)),
    ];
    let matches = |view: &PeerView, search: &str| {
        let has = |text: &str| text.to_lowercase().contains(search);
        let address = view.address.map(|address| address.to_string());
        has(view.id.as_str())
            || view.name.as_deref().is_some_and(has)
            || address.as_deref().is_some_and(has)
    };
    let views = shared.server.view_peers(shared.naming.as_deref());
    json(200, &page(views, query, matches, &orders))
}

/// What is not known yet is less than any.
fn by(a: Option<Rate>, b: Option<Rate>, of: impl Fn(Rate) -> f64) -> Ordering {
    let [a, b] = [a, b].map(|rate| rate.map_or(-1.0, &of));
    a.total_cmp(&b)
}

fn room(shared: &Shared, query: &Query<'_>) -> Reply {
    let Some(room) = query.room("name") else {
        return problem(400, "name is not the id of a room");
    };
    let server = &shared.server;
    let naming = shared.naming.as_deref();
    let (members, total) = server.view_members(&room, MAX_SHOWN, naming);
    let everybody = server.members(&room).len();
    let (pairs, pairs_begun) = server.view_pairs(&room, MAX_SHOWN);
    let room = Room {
        name: room,
        total,
        elsewhere: everybody.saturating_sub(total),
        members,
        pairs_total: total * total.saturating_sub(1) / 2,
        pairs_begun,
        pairs,
    };
    json(200, &room)
}

fn disconnect(shared: &Shared, query: &Query<'_>) -> Reply {
    let Some(peer) = query.get("peer").and_then(|id| id.parse().ok()) else {
        return problem(400, "peer is not the id of a peer");
    };
    let disconnected = shared.server.disconnect(&peer);
    json(200, &Disconnected { disconnected })
}

fn close(shared: &Shared, query: &Query<'_>) -> Reply {
    let Some(room) = query.room("room") else {
        return problem(400, "room is not the id of a room");
    };
    let members = shared.server.close_room(&room);
    json(200, &Closed { members })
}

fn problem(status: u16, error: &'static str) -> Reply {
    json(status, &Problem { error })
}

fn json(status: u16, body: &impl Serialize) -> Reply {
    match serde_json::to_vec(body) {
        Ok(body) => Reply::new(status, "application/json", body)
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff"),
        Err(_) => Reply::bare(500),
    }
}
