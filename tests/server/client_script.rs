//! The client's own script, served beside the signaling.

#![cfg(feature = "tower")]

use crate::support::{Host, Request, Response, Site, on_each_host};
use peer_data_server::Builder;

on_each_host!(
    the_script_is_served,
    who_has_it_already_is_not_sent_it_again,
    a_head_has_no_body,
    pages_of_all_origins_may_read_it,
    without_a_script_the_answer_says_how_to_have_one,
    the_script_is_read_and_nothing_else,
    the_script_is_at_the_path_of_the_server,
);

const PATH: &str = "/socket.io/socket.io.js";
const SCRIPT: &str = "/*! socket.io */ var io = '\u{e9}';";

fn with_script(builder: Builder) -> Builder {
    builder.client_script(SCRIPT)
}

async fn get(site: &Site, target: &str) -> Response {
    Request::get(target).send(site.address).await
}

async fn the_script_is_served(host: Host) {
    let site = host.start_with(with_script).await;
    for target in [PATH, "/socket.io/socket.io.js?EIO=4&transport=polling"] {
        let answer = get(&site, target).await;
        assert_eq!((answer.status, answer.text()), (200, SCRIPT));
        for (name, value) in [
            ("content-type", "application/javascript; charset=utf-8"),
            ("cache-control", "public, max-age=0"),
            ("content-length", &*SCRIPT.len().to_string()),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        assert!(answer.header("etag").is_some());
    }
    // And what is below all the same is the protocol.
    let open = "/socket.io/?EIO=4&transport=polling&t=socket.io.js";
    assert_eq!(get(&site, open).await.status, 200);
    for target in ["/socket.io/socket.io.js.map", "/socket.io/socket.io.j"] {
        get(&site, target).await.is_refusal(0, "Transport unknown");
    }
}

async fn who_has_it_already_is_not_sent_it_again(host: Host) {
    let site = host.start_with(with_script).await;
    let tag = get(&site, PATH).await;
    let tag = tag.header("etag").expect("a tag");
    let weak = format!("\"other\", W/{tag}");
    for (known, expected) in [(tag, 304), (&*weak, 304), ("*", 304), ("\"other\"", 200)] {
        let request = Request::get(PATH).header("If-None-Match", known);
        let answer = request.send(site.address).await;
        assert_eq!(answer.status, expected, "{known}");
        assert_eq!(answer.body.is_empty(), expected == 304);
        assert_eq!(answer.header("etag"), Some(tag));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=0"));
    }
}

async fn a_head_has_no_body(host: Host) {
    let site = host.start_with(with_script).await;
    let without = host.start().await;
    for (site, status) in [(&site, 200), (&without, 404)] {
        let length = get(site, PATH).await.body.len();
        let request = Request::new("HEAD", PATH);
        let mut exchange = request.start(site.address).await;
        let head = exchange.read_until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        let says = format!("\r\ncontent-length: {length}\r\n");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
        assert!(head.contains(&says), "{head}");
        // What comes next is the next answer.
        exchange.request(&Request::get("/socket.io/")).await;
        exchange.response().await.is_refusal(0, "Transport unknown");
    }
}

async fn pages_of_all_origins_may_read_it(host: Host) {
    let site = host.start_with(with_script).await;
    for (origin, allowed) in [(Some("https://o.test"), "https://o.test"), (None, "*")] {
        let request = Request::get(PATH);
        let request = match origin {
            Some(origin) => request.header("Origin", origin),
            None => request,
        };
        let answer = request.send(site.address).await;
        let found = answer.header("access-control-allow-origin");
        assert_eq!((answer.status, found), (200, Some(allowed)));
        // It may be cached, but not across origins.
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    let preflight = Request::new("OPTIONS", PATH).send(site.address).await;
    assert_eq!(preflight.status, 204);
}

async fn without_a_script_the_answer_says_how_to_have_one(host: Host) {
    let site = host.start().await;
    let answer = get(&site, PATH).await;
    let kind = answer.header("content-type");
    assert_eq!(
        (answer.status, kind),
        (404, Some("text/plain; charset=utf-8"))
    );
    assert!(answer.text().contains("Builder::client_script"));
}

async fn the_script_is_read_and_nothing_else(host: Host) {
    let site = host.start_with(with_script).await;
    for method in ["POST", "PUT", "DELETE"] {
        let answer = Request::new(method, PATH).send(site.address).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("GET, HEAD"))
        );
    }
}

async fn the_script_is_at_the_path_of_the_server(host: Host) {
    let site = host.start_at("/any/path", "/json").await;
    let answer = get(&site, "/any/path/socket.io.js").await;
    assert!(answer.text().contains("client_script"), "{answer:?}");
    let answer = get(&site, PATH).await;
    assert!(!answer.text().contains("client_script"), "{answer:?}");
    let answer = get(&site, "/json/socket.io.js").await;
    assert_eq!(answer.status, 426);
}
