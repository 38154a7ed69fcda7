//! Pages of other origins: which are served, and what the application learns of their users.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Polling, Request, Response, Revision, Site, in_each_revision, on_each_host,
};
use peer_data_server::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

in_each_revision!(
    a_foreign_page_is_refused_everything,
    a_session_is_refused_to_foreign_pages,
    allowed_pages_and_the_servers_own_are_served,
);
on_each_host!(
    plain_json_and_the_script_are_refused_in_a_sentence,
    hooks_see_cookies_of_pages_that_may,
    hooks_see_no_cookies_behind_script_tags,
);

/// The origin of the server itself: what every [`Request`] is addressed to.
const OWN: &str = "http://site.test";
const ALLOWED: &str = "https://o.test";
const FOREIGN: &str = "https://evil.test";

fn restricted(builder: Builder) -> Builder {
    // As nobody writes it, and everybody means it.
    builder.allowed_origins(["HTTPS://O.test:443"])
}

fn target(revision: Revision, rest: &str) -> String {
    format!("/socket.io/?EIO={}{rest}", revision.number())
}

async fn from(origin: &str, request: Request, site: &Site) -> Response {
    request.header("Origin", origin).send(site.address).await
}

#[track_caller]
fn is_forbidden(answer: &Response) {
    let kind = answer.header("content-type");
    assert_eq!((answer.status, kind), (403, Some("application/json")));
    assert_eq!(answer.text(), r#"{"code":4,"message":"Forbidden"}"#);
    is_unreadable(answer);
}

/// No page may read it, and no cache take it for another page's.
#[track_caller]
fn is_unreadable(answer: &Response) {
    let mut names = answer.headers.iter().map(|(name, _)| &**name);
    assert!(!names.any(|name| name.starts_with("access-control-")));
    assert_eq!(answer.header("vary"), Some("Origin"));
}

async fn a_foreign_page_is_refused_everything(host: Host, revision: Revision) {
    let site = host.start_with(restricted).await;
    for origin in [FOREIGN, "null", "http://o.test", "https://o.test:8443", ""] {
        for request in [
            Request::get(&target(revision, "&transport=polling")),
            Request::get(&target(revision, "&transport=polling&j=0")),
            Request::get(&target(revision, "&transport=none")),
            Request::upgrade(&target(revision, "&transport=websocket")),
            Request::new("OPTIONS", &target(revision, "&transport=polling"))
                .header("Access-Control-Request-Method", "POST"),
        ] {
            is_forbidden(&from(origin, request, &site).await);
        }
    }
    // A script tag of another site: no origin, but the browser says what it is.
    let script = Request::get(&target(revision, "&transport=polling&j=0"));
    let script = script.header("Sec-Fetch-Site", "cross-site");
    is_forbidden(&script.send(site.address).await);
    assert_eq!(site.server.peer_count(), 0);
}

async fn a_session_is_refused_to_foreign_pages(host: Host, revision: Revision) {
    let site = host.start_with(restricted).await;
    let (client, _) = Polling::connect(&site, revision).await;
    for request in [
        Request::get(&client.target()),
        Request::post(
            &client.target(),
            crate::support::encode(revision, &["1".into()]),
        ),
        Request::upgrade(&client.upgrade_target()),
    ] {
        is_forbidden(&from(FOREIGN, request, &site).await);
    }
    // It has noticed nothing: not even a poll too many.
    let poll = client.start_get().await;
    client.post(&["6"]).await;
    assert_eq!(site.server.peer_count(), 1);
    drop(poll);
}

async fn allowed_pages_and_the_servers_own_are_served(host: Host, revision: Revision) {
    let site = host.start_with(restricted).await;
    for origin in [ALLOWED, OWN] {
        let open = Request::get(&target(revision, "&transport=polling"));
        let answer = from(origin, open, &site).await;
        assert_eq!(answer.status, 200, "{origin}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin));
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, Some("true"));
        assert_eq!(answer.header("vary"), Some("Origin"));

        let preflight = Request::new("OPTIONS", &target(revision, "&transport=polling"));
        let answer = from(origin, preflight, &site).await;
        assert_eq!(answer.status, 204);
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin));

        let upgrade = Request::upgrade(&target(revision, "&transport=websocket"));
        assert_eq!(upgraded(origin, upgrade, &site).await, 101);
        assert_eq!(
            upgraded(origin, Request::upgrade("/peer-data"), &site).await,
            101
        );
    }
    // No page's, or one of the server's own.
    let open = Request::get(&target(revision, "&transport=polling"));
    let answer = open.send(site.address).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

async fn upgraded(origin: &str, request: Request, site: &Site) -> u16 {
    let request = request.header("Origin", origin);
    request.start(site.address).await.response().await.status
}

async fn plain_json_and_the_script_are_refused_in_a_sentence(host: Host) {
    let site = host.start_with(restricted).await;
    for request in [
        Request::upgrade("/peer-data"),
        Request::get("/peer-data"),
        Request::new("OPTIONS", "/peer-data"),
        Request::get("/socket.io/socket.io.js"),
    ] {
        let answer = from(FOREIGN, request, &site).await;
        let kind = answer.header("content-type");
        assert_eq!(
            (answer.status, kind),
            (403, Some("text/plain; charset=utf-8"))
        );
        assert!(answer.text().ends_with('.'), "{answer:?}");
        is_unreadable(&answer);
    }
}

/// Tells of each peer what its handshake shows of cookies and passwords.
fn watched(builder: Builder) -> (Builder, UnboundedReceiver<String>) {
    let (sender, seen) = unbounded_channel();
    let builder = builder.on_connect(move |_, hello| {
        let handshake = hello.handshake();
        let cookies = handshake.headers("cookie").collect::<Vec<_>>().join("; ");
        let authorization = handshake.header("Authorization").unwrap_or_default();
        let token = handshake.parameter("token").unwrap_or_default();
        let seen = format!("{cookies}|{authorization}|{token}");
        sender.send(seen).expect("a test that listens");
    });
    (builder, seen)
}

async fn hooks_see_cookies_of_pages_that_may(host: Host) {
    let (builder, mut seen) = watched(restricted(Builder::default()));
    let site = host.start_with(|_| builder).await;
    for (name, value) in [
        ("Origin", ALLOWED),
        ("Origin", OWN),
        ("Sec-Fetch-Site", "same-origin"),
        ("Sec-Fetch-Site", "none"),
        ("X-Program", "curl"),
    ] {
        assert_eq!(
            seen_of(&site, name, value, "", &mut seen).await,
            "login=1|Basic pw|a&b",
            "{name}: {value}"
        );
    }
    // Served by default, and yet nobody's pages.
    let (builder, mut seen) = watched(Builder::default());
    let site = host.start_with(|_| builder).await;
    for (name, value) in [
        ("Origin", FOREIGN),
        ("Origin", ALLOWED),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let seen = seen_of(&site, name, value, "", &mut seen).await;
        assert_eq!(seen, "||a&b", "{name}: {value}");
    }
    let upgrades = [
        Request::upgrade("/socket.io/?EIO=3&transport=websocket&token=t"),
        Request::upgrade("/peer-data?token=t"),
    ];
    for upgrade in upgrades {
        for (origin, expected) in [(OWN, "login=1||t"), (FOREIGN, "||t")] {
            let upgrade = upgrade.clone().header("Cookie", "login=1");
            let socket = upgrade.header("Origin", origin).start(site.address);
            let mut socket = socket.await;
            assert_eq!(socket.response().await.status, 101);
            assert_eq!(seen.recv().await.as_deref(), Some(expected));
        }
    }
}

async fn hooks_see_no_cookies_behind_script_tags(host: Host) {
    let (builder, mut seen) = watched(Builder::default());
    let site = host.start_with(|_| builder).await;
    for (name, value, expected) in [
        ("X-Program", "old browser", "||a&b"),
        ("Sec-Fetch-Site", "cross-site", "||a&b"),
        ("Sec-Fetch-Site", "same-origin", "login=1|Basic pw|a&b"),
        ("Origin", OWN, "login=1|Basic pw|a&b"),
    ] {
        let seen = seen_of(&site, name, value, "&j=0", &mut seen).await;
        assert_eq!(seen, expected, "{name}: {value}");
    }
}

/// What the hook sees of a request with that header, cookies and a password.
async fn seen_of(
    site: &Site,
    name: &str,
    value: &str,
    query: &str,
    seen: &mut UnboundedReceiver<String>,
) -> String {
    // Revision 3 is connected by this one request.
    let target = format!("/socket.io/?EIO=3&transport=polling&token=a%26b{query}");
    let answer = Request::get(&target)
        .header("Cookie", "login=1")
        .header("Authorization", "Basic pw")
        .header(name, value)
        .send(site.address)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    seen.recv().await.expect("a hook that was called")
}
