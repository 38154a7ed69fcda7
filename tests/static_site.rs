//! The examples `static_site` and `static_site_actix`, run as they are.

#![cfg(feature = "axum")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Program, Request, Socket, event, event_to, signals_below};

const INDEX: &str = "<!doctype html><title>built</title>";
/// The same for each framework.
const EXAMPLES: &[&str] = &[
    "static_site",
    #[cfg(feature = "actix")]
    "static_site_actix",
];

const PRODUCTION: (&str, &str) = ("APP_ENV", "production");

/// A folder with a built application in `build/`, and a secret beside it.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("build/assets")).expect("a folder");
    fs::write(folder.join("build/index.html"), INDEX).expect("a page");
    fs::write(folder.join("build/assets/app.js"), "run()").expect("a script");
    fs::write(folder.join("secret.txt"), "secret").expect("a secret");
    folder
}

#[tokio::test]
async fn in_production_the_application_is_served_beside_signaling() {
    let folder = folder("static_site_production");
    for example in EXAMPLES {
        let site = Program::start(example, &folder, &[PRODUCTION]).await;
        serves_the_application(&site).await;
        assert!(signals_below("", site.address).await);
        meet(&site).await;
        site.stop().await;
    }
}

async fn serves_the_application(site: &Program) {
    for target in [
        "/",
        "/index.html",
        "/rooms/7?tab=chat",
        "/socket.iox",
        "/nothing.js",
        // Folders, and what a server of files takes for no name of one.
        "/assets",
        "/assets/",
        "/rooms/.x",
        "/rooms/x:",
        "/rooms/*x",
        "/rooms/%3Cx%3E",
        "/rooms/%2Fx",
        "/rooms/%00",
        "/rooms/%ff",
    ] {
        let answer = Request::get(target).send(site.address).await;
        assert_eq!((answer.status, answer.text()), (200, INDEX), "{target}");
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/html"), "{kind}");
    }
    let answer = Request::get("/assets/app.js").send(site.address).await;
    assert_eq!((answer.status, answer.text()), (200, "run()"));
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("text/javascript"), "{kind}");
    let mut head = Request::new("HEAD", "/rooms/7").start(site.address).await;
    let head = head.read_until(b"\r\n\r\n").await;
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{head:?}");
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/assets/../../secret.txt",
    ] {
        let answer = Request::get(target).send(site.address).await;
        assert_ne!(answer.text(), "secret", "{target}");
    }
}

/// Two clients find each other in a room.
async fn meet(site: &Program) {
    let connect = event("CONNECT", "r", serde_json::Value::Null).to_string();
    let mut one = Socket::open(site.address, "/peer-data").await;
    let ready: serde_json::Value = serde_json::from_str(&one.text().await).expect("JSON");
    one.send(&connect).await;
    // Refused, and that once the first is in the room.
    let id = ready["payload"]["id"].as_str().expect("an id");
    one.send(&event_to(id, "OFFER", "r", 1).to_string()).await;
    assert!(one.text().await.contains("oneself"));
    let mut two = Socket::open(site.address, "/peer-data").await;
    let ready: serde_json::Value = serde_json::from_str(&two.text().await).expect("JSON");
    two.send(&connect).await;
    let heard: serde_json::Value = serde_json::from_str(&one.text().await).expect("JSON");
    assert_eq!(heard["type"], "CONNECT");
    assert_eq!(heard["caller"]["id"], ready["payload"]["id"]);
}

#[tokio::test]
async fn elsewhere_there_is_signaling_alone() {
    let folder = folder("static_site_development");
    let development = [("APP_ENV", "development")];
    let cases = EXAMPLES
        .iter()
        .flat_map(|example| [(example, &[][..]), (example, &development)]);
    for (example, variables) in cases {
        let site = Program::start(example, &folder, variables).await;
        for target in ["/", "/index.html", "/assets/app.js"] {
            let answer = Request::get(target).send(site.address).await;
            assert_eq!(answer.status, 404, "{target}");
        }
        assert!(signals_below("", site.address).await);
        site.stop().await;
    }
}

#[tokio::test]
async fn the_servers_settings_come_from_the_environment() {
    let folder = folder("static_site_settings");
    let variables = [PRODUCTION, ("PEER_DATA_PATH", "/elsewhere")];
    for example in EXAMPLES {
        let site = Program::start(example, &folder, &variables).await;
        assert!(support::signals(site.address, "/elsewhere/").await);
        let answer = Request::get("/socket.io/").send(site.address).await;
        assert_eq!(answer.text(), INDEX);
        site.stop().await;
    }
}
