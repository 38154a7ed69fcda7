//! Requests, as they come from real clients and from others.

use Revision::{V3, V4};

use super::*;

const SID: &str = "zVM8wOtnweVu5FYeAAAA";

/// What a browser sends to open a websocket; key and answer are those of RFC 6455, 1.3.
const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Reads a request to a server that has the session [`SID`], if any.
fn read_known(
    known: Option<Known>,
    upgrade: Upgrade,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Intent {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let head = Head {
        method,
        path,
        query,
        authority: None,
        address: None,
        upgrade,
        lines: &|name, show| {
            let found = headers.iter().filter(|(found, _)| *found == name);
            found.for_each(|(_, value)| show(value.as_bytes()));
        },
        each_header: &|_| {},
    };
    let door = door(Mount::Paths, path).unwrap_or_else(|| panic!("{path} is not ours"));
    door.read(&head, |sid| known.filter(|_| sid.as_str() == SID))
}

fn door(mount: Mount, path: &str) -> Option<Door> {
    let paths = Paths {
        engine: "/socket.io".into(),
        json: "/peer-data".into(),
    };
    paths.door(mount, path)
}

const POLLING: Known = Known {
    revision: V3,
    polling: true,
};

fn read(method: &str, target: &str, headers: &[(&str, &str)]) -> Intent {
    read_known(Some(POLLING), Upgrade::Header, method, target, headers)
}

fn get(target: &str) -> Intent {
    read("GET", target, &[])
}

/// Status and body of an answer on the spot.
fn answer(intent: Intent) -> (u16, String) {
    match intent {
        Intent::Answer(reply) => (
            reply.status,
            String::from_utf8(reply.body.to_vec()).unwrap(),
        ),
        other => panic!("{other:?}"),
    }
}

fn code(code: u8, message: &str) -> (u16, String) {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (400, body)
}

fn opened(intent: Intent) -> (Revision, Format) {
    match intent {
        Intent::Open { revision, format } => (revision, format),
        other => panic!("{other:?}"),
    }
}

fn polled(intent: Intent) -> Format {
    match intent {
        Intent::Poll { sid, format } if sid.as_str() == SID => format,
        other => panic!("{other:?}"),
    }
}

fn upgraded(intent: Intent) -> (SocketTarget, SocketHandshake) {
    match intent {
        Intent::Socket { target, handshake } => (target, handshake),
        other => panic!("{other:?}"),
    }
}

/// The handshake with one header replaced, or removed.
fn handshake_with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let others = HANDSHAKE.into_iter().filter(|(other, _)| *other != name);
    others.chain(value.map(|value| (name, value))).collect()
}

#[test]
fn paths_end_at_a_slash() {
    for path in [
        "/",
        "",
        "/socket.i",
        "/socket.iox",
        "/socket.io.js",
        "/a/socket.io/",
        "/SOCKET.IO/",
        "/peer-data.js",
        "/peer-dat",
        "/socket.io%2f",
    ] {
        assert_eq!(door(Mount::Paths, path), None, "{path}");
    }
    for path in ["/socket.io", "/socket.io/", "/socket.io/any/thing"] {
        opened(get(&format!("{path}?EIO=3&transport=polling")));
    }
    for path in ["/peer-data", "/peer-data/", "/peer-data/any"] {
        upgraded(read("GET", path, &HANDSHAKE));
    }
}

#[test]
fn the_script_is_a_file_below_engine_io() {
    for path in ["/socket.io/socket.io.js", "/socket.io/any/socket.io.js"] {
        assert_eq!(door(Mount::Paths, path), Some(Door::Script), "{path}");
        for method in ["GET", "HEAD", "POST"] {
            let intent = read(method, path, &[]);
            assert!(matches!(intent, Intent::Script), "{method} {path}");
        }
    }
    for path in ["/socket.io.js", "/api/socket.io/socket.io.js"] {
        assert_eq!(door(Mount::Paths, path), None, "{path}");
        assert_eq!(door(Mount::Engine, path), Some(Door::Script), "{path}");
        assert_eq!(door(Mount::Json, path), Some(Door::Json), "{path}");
    }
    for path in [
        "/socket.io/",
        "/socket.io/socket.io.js/",
        "/socket.io/xsocket.io.js",
    ] {
        assert_eq!(door(Mount::Paths, path), Some(Door::Engine), "{path}");
        assert_eq!(door(Mount::Engine, path), Some(Door::Engine), "{path}");
    }
    let json = Some(Door::Json);
    assert_eq!(door(Mount::Paths, "/peer-data/socket.io.js"), json);
}

#[test]
fn revisions_go_by_their_names() {
    let open = |eio| get(&format!("/socket.io/?{eio}transport=polling"));
    assert_eq!(opened(open("EIO=3&")).0, V3);
    assert_eq!(opened(open("EIO=4&")).0, V4);
    for eio in ["", "EIO=&", "EIO=abc&", "EIO=2&", "EIO=33&", "eio=3&"] {
        let refused = answer(open(eio));
        assert_eq!(refused, code(5, "Unsupported protocol version"), "{eio}");
    }
}

#[test]
fn transports_go_by_their_names() {
    for query in [
        "",
        "?",
        "?EIO=3",
        "?EIO=3&transport=",
        "?EIO=3&transport=tobi",
        "?EIO=3&transport=Polling",
        "?transport=__proto__&sid=none",
    ] {
        for method in ["GET", "POST", "PUT"] {
            let refused = answer(read(method, &format!("/socket.io/{query}"), &[]));
            assert_eq!(refused, code(0, "Transport unknown"), "{method} {query}");
        }
    }
}

#[test]
fn sessions_must_exist() {
    let other = "HjuA7FgHpBJ6BFMPAAAo";
    for sid in [other, "", "__proto__", "zVM8wOtnweVu5FYeAAAAA", "%00"] {
        for transport in ["polling", "websocket"] {
            for method in ["GET", "POST", "PUT"] {
                let target = format!("/socket.io/?EIO=3&transport={transport}&sid={sid}");
                let refused = answer(read(method, &target, &HANDSHAKE));
                assert_eq!(refused, code(1, "Session ID unknown"), "{sid}");
            }
        }
    }
}

#[test]
fn only_a_get_opens_a_session() {
    for method in ["POST", "PUT", "HEAD", "DELETE", "get"] {
        for transport in ["polling", "websocket"] {
            // Even of a revision that is not spoken.
            for eio in [3, 4, 5] {
                let target = format!("/socket.io/?EIO={eio}&transport={transport}");
                let refused = answer(read(method, &target, &HANDSHAKE));
                assert_eq!(refused, code(2, "Bad handshake method"), "{method}");
            }
        }
    }
}

#[test]
fn a_session_is_used_by_get_and_post() {
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={SID}");
    polled(get(&target));
    assert!(matches!(read("POST", &target, &[]), Intent::Post { .. }));
    for method in ["PUT", "HEAD", "DELETE"] {
        let refused = answer(read(method, &target, &[]));
        assert_eq!(refused, code(2, "Bad handshake method"), "{method}");
    }
}

#[test]
fn a_session_keeps_its_revision() {
    for eio in ["EIO=4&", "EIO=5&", ""] {
        for transport in ["polling", "websocket"] {
            let target = format!("/socket.io/?{eio}transport={transport}&sid={SID}");
            let refused = answer(read("GET", &target, &HANDSHAKE));
            assert_eq!(refused, code(3, "Bad request"), "{eio} {transport}");
        }
    }
    let known = Known {
        revision: V4,
        polling: true,
    };
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={SID}");
    polled(read_known(
        Some(known),
        Upgrade::Header,
        "GET",
        &target,
        &[],
    ));
}

#[test]
fn a_websocket_session_is_not_polled() {
    let known = Some(Known {
        polling: false,
        ..POLLING
    });
    for method in ["GET", "POST"] {
        let target = format!("/socket.io/?EIO=3&transport=polling&sid={SID}");
        let refused = answer(read_known(known, Upgrade::Header, method, &target, &[]));
        assert_eq!(refused, code(3, "Bad request"));
    }
    // Its second websocket is the session's to refuse.
    let target = format!("/socket.io/?EIO=3&transport=websocket&sid={SID}");
    upgraded(read_known(
        known,
        Upgrade::Header,
        "GET",
        &target,
        &HANDSHAKE,
    ));
}

#[test]
fn a_websocket_takes_an_upgrade() {
    for sid in [String::new(), format!("&sid={SID}")] {
        let target = format!("/socket.io/?EIO=3&transport=websocket{sid}");
        for headers in [&[][..], &handshake_with("upgrade", Some("h2c"))] {
            let refused = answer(read("GET", &target, headers));
            assert_eq!(refused, code(3, "Bad request"));
        }
    }
    let target = format!("/socket.io/?EIO=3&transport=websocket&sid={SID}");
    assert_eq!(
        answer(read("POST", &target, &HANDSHAKE)),
        code(3, "Bad request")
    );
}

#[test]
fn parameters_come_in_any_order_spelling_and_number() {
    for query in [
        "EIO=3&transport=polling&t=Nabc",
        "t=Nabc&transport=polling&EIO=3",
        "%45IO=%33&transport=p%6Flling",
        "EIO=3&transport=polling&EIO=4&transport=websocket",
        "&&EIO=3&=&transport=polling&token=a+b&room=%F0%9F%98%80&%ff",
    ] {
        let (revision, format) = opened(get(&format!("/socket.io/?{query}")));
        assert_eq!(revision, V3, "{query}");
        let plain = Format {
            base64: false,
            jsonp: None,
        };
        assert_eq!(format, plain, "{query}");
    }
    let twice = format!("/socket.io/?sid={SID}&EIO=3&transport=polling&sid=none");
    polled(get(&twice));
}

#[test]
fn base64_is_asked_for() {
    let base64 = |query| opened(get(&format!("/socket.io/?EIO=3&transport=polling{query}"))).1;
    for query in ["&b64=1", "&b64=true", "&b64=1&b64=0"] {
        assert!(base64(query).base64, "{query}");
    }
    for query in ["", "&b64", "&b64=", "&b64=0", "&b64=false", "&b64=0&b64=1"] {
        assert!(!base64(query).base64, "{query}");
    }
    let target = "/socket.io/?EIO=3&transport=websocket&b64=1";
    let expected = SocketTarget::Open {
        revision: V3,
        base64: true,
    };
    assert_eq!(upgraded(read("GET", target, &HANDSHAKE)).0, expected);
}

#[test]
fn jsonp_goes_by_its_number() {
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={SID}&j=7&j=8");
    assert_eq!(polled(get(&target)).jsonp.as_deref(), Some("7"));
    let (_, format) = opened(get("/socket.io/?EIO=3&transport=polling&j=0"));
    assert_eq!(format.jsonp.as_deref(), Some("0"));
}

#[test]
fn a_body_is_read_as_its_type_says() {
    let content = |query: &str, kind: Option<&str>| {
        let target = format!("/socket.io/?EIO=3&transport=polling&sid={SID}{query}");
        let headers: Vec<_> = kind
            .map(|kind| ("content-type", kind))
            .into_iter()
            .collect();
        match read("POST", &target, &headers) {
            Intent::Post { content, .. } => content,
            other => panic!("{other:?}"),
        }
    };
    for kind in [None, Some("text/plain;charset=UTF-8"), Some("")] {
        assert_eq!(content("", kind), Content::Text);
    }
    for kind in ["application/octet-stream", "Application/Octet-Stream ; x=y"] {
        assert_eq!(content("", Some(kind)), Content::Binary);
        assert_eq!(content("&j=0", Some(kind)), Content::Binary);
    }
    let form = Some("application/x-www-form-urlencoded");
    assert_eq!(content("&j=0", form), Content::Form);
    assert_eq!(content("", form), Content::Text);
    assert_eq!(
        content("", Some("application/octet-streams")),
        Content::Text
    );
}

#[test]
fn a_body_may_announce_its_length() {
    let target = format!("/socket.io/?EIO=3&transport=polling&sid={SID}");
    for (header, expected) in [
        ("10000000000", Some(10_000_000_000)),
        (" 4 ", Some(4)),
        ("-1", None),
        ("99999999999999999999", None),
    ] {
        match read("POST", &target, &[("content-length", header)]) {
            Intent::Post { length, .. } => assert_eq!(length, expected),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_preflight_is_answered_anywhere_under_the_paths() {
    for target in [
        "/socket.io/",
        "/socket.io/?EIO=3&transport=polling&sid=none",
        "/socket.io/any",
        "/socket.io/socket.io.js",
        "/peer-data",
    ] {
        let asked = [("access-control-request-headers", "x-token")];
        let Intent::Answer(reply) = read("OPTIONS", target, &asked) else {
            panic!("{target}");
        };
        assert_eq!(reply.status, 204);
        let allowed = ("access-control-allow-headers", "x-token".to_owned());
        assert!(reply.headers.contains(&allowed));
        assert!(reply.body.is_empty());
    }
}

#[test]
fn a_handshake_is_answered_with_its_key() {
    let base64 = false;
    let sid = SessionId::parse(SID).unwrap();
    for (target, expected) in [
        (
            "/socket.io/?EIO=4&transport=websocket".to_owned(),
            SocketTarget::Open {
                revision: V4,
                base64,
            },
        ),
        (
            format!("/socket.io/?EIO=3&transport=websocket&sid={SID}"),
            SocketTarget::Upgrade { sid, base64 },
        ),
        ("/peer-data".to_owned(), SocketTarget::Json),
    ] {
        let (found, handshake) = upgraded(read("GET", &target, &HANDSHAKE));
        assert_eq!(found, expected);
        assert_eq!(handshake.accept.as_deref(), Some(ACCEPT));
        let reply = handshake.reply();
        assert_eq!(reply.status, 101);
        let headers = [
            ("connection", "upgrade".to_owned()),
            ("upgrade", "websocket".to_owned()),
            ("sec-websocket-accept", ACCEPT.to_owned()),
        ];
        assert_eq!(reply.headers, headers);
    }
}

#[test]
fn a_handshake_has_what_rfc_6455_asks_for() {
    for target in ["/peer-data", "/socket.io/?EIO=3&transport=websocket"] {
        let read = |name, value| read("GET", target, &handshake_with(name, value));
        for (name, value) in [
            ("connection", "keep-alive, Upgrade"),
            ("connection", "upgrade"),
            ("upgrade", "WebSocket"),
            ("upgrade", "h2c, websocket"),
            ("sec-websocket-key", " dGhlIHNhbXBsZSBub25jZQ== "),
        ] {
            let (_, handshake) = upgraded(read(name, Some(value)));
            assert_eq!(handshake.accept.as_deref(), Some(ACCEPT), "{name}: {value}");
        }
        for (name, value) in [
            ("connection", None),
            ("connection", Some("keep-alive")),
            ("connection", Some("upgrades")),
            ("sec-websocket-key", None),
            ("sec-websocket-key", Some("")),
            ("sec-websocket-key", Some("dG9vIHNob3J0")),
        ] {
            let refused = answer(read(name, value));
            assert_eq!(refused, code(3, "Bad request"), "{name}: {value:?}");
        }
        for version in [None, Some("8"), Some("13, 8")] {
            let Intent::Answer(reply) = read("sec-websocket-version", version) else {
                panic!("{version:?}");
            };
            assert_eq!(reply.status, 426);
            let spoken = ("sec-websocket-version", "13".to_owned());
            assert!(reply.headers.contains(&spoken));
        }
    }
}

#[test]
fn a_list_may_stand_on_several_lines() {
    let mut headers = HANDSHAKE.to_vec();
    headers.insert(0, ("connection", "keep-alive"));
    headers.insert(0, ("upgrade", "h2c"));
    headers.push(("sec-websocket-protocol", "a"));
    headers.push(("sec-websocket-protocol", "b"));
    let (_, handshake) = upgraded(read("GET", "/peer-data", &headers));
    assert_eq!(handshake.protocol.as_deref(), Some("a"));
}

#[test]
fn what_cannot_be_upgraded_is_not() {
    let get = |target| answer(read_known(None, Upgrade::Never, "GET", target, &HANDSHAKE));
    let refused = get("/socket.io/?EIO=3&transport=websocket");
    assert_eq!(refused, code(3, "Bad request"));
    assert_eq!(get("/peer-data").0, 426);
}

#[test]
fn the_first_subprotocol_is_spoken() {
    for (offered, expected) in [
        ("a", Some("a")),
        (" a , b", Some("a")),
        ("", None),
        (", b", None),
    ] {
        let headers = handshake_with("sec-websocket-protocol", Some(offered));
        let (_, handshake) = upgraded(read("GET", "/peer-data", &headers));
        assert_eq!(handshake.protocol.as_deref(), expected, "{offered:?}");
        let said = ("sec-websocket-protocol", "a".to_owned());
        let says = handshake.reply().headers.contains(&said);
        assert_eq!(says, expected.is_some());
    }
}

#[test]
fn plain_json_is_a_websocket_and_nothing_else() {
    for (method, headers) in [
        ("GET", &[][..]),
        ("POST", &HANDSHAKE),
        ("GET", &[("upgrade", "h2c")]),
    ] {
        let (status, sentence) = answer(read(method, "/peer-data", headers));
        assert_eq!(status, 426);
        assert!(sentence.contains("WebSocket"));
    }
}
