//! Bodies of long-polling: text, binary and base64 of both revisions, and JSONP.

#![cfg(feature = "tower")]

use crate::support::{
    Host, Packet, Peer, Polling, ROOM, Request, Revision, Site, Wire, decode, encode,
    encode_binary, event, in_each_revision, message, on_each_host, pair, utf16,
};
use serde_json::{Value, json};

in_each_revision!(
    what_is_queued_leaves_in_one_answer,
    a_body_may_have_many_packets,
    attachments_travel_as_base64,
    characters_survive_in_both_directions,
    a_broken_body_ends_the_session,
);
on_each_host!(
    revision_3_counts_utf16,
    revision_3_speaks_binary_to_those_who_can,
    revision_3_takes_binary_payloads,
    jsonp_wraps_answers,
    jsonp_unwraps_forms,
);

/// What a GET brings.
async fn packets(client: &Polling) -> Vec<Packet> {
    let answer = client.get().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    decode(client.revision, &answer)
}

/// A session with other query parameters, in the room; its peer id too.
async fn join_with(site: &Site, revision: Revision, extra: &str) -> (Polling, String) {
    let mut client = Polling::open(site, revision, extra).await;
    if revision == Revision::V4 {
        client.post(&["40"]).await;
    }
    assert!(client.text().await.starts_with("40"));
    let connect = event("CONNECT", ROOM, Value::Null);
    client.post(&[&format!("420[\"message\",{connect}]")]).await;
    let ack = client.text().await;
    let ack: Value = serde_json::from_str(&ack[3..]).expect("JSON");
    let id = ack[0]["id"].as_str().expect("an id").to_owned();
    (client, id)
}

async fn what_is_queued_leaves_in_one_answer(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut poller = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    for number in 0..5 {
        assert_eq!(site.tell(&poller.id, "COUNT", &json!(number)), 1);
    }
    let got = packets(poller.polling()).await;
    let numbers: Vec<_> = got
        .into_iter()
        .map(|packet| {
            let text = packet.text();
            let event: Value = serde_json::from_str(&text[2..]).expect("JSON");
            event[1]["payload"].as_i64()
        })
        .collect();
    assert_eq!(numbers, (0..5).map(Some).collect::<Vec<_>>());
}

async fn a_body_may_have_many_packets(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    let events = ["a", "b", "c"].map(|text| message(&event("CHAT", ROOM, text)));
    poller
        .polling()
        .post(&[&events[0], "6", &events[1], &events[2]])
        .await;
    for text in ["a", "b", "c"] {
        assert_eq!(other.signal().await["payload"], text);
    }
}

async fn attachments_travel_as_base64(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut sender = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    let (receiver, _) = join_with(&site, revision, "&b64=1").await;
    assert_eq!(sender.signal().await["type"], "CONNECT");
    let raw = format!(
        r#"{{"type":"FILE","caller":{{"id":"{}"}},"room":{{"id":"r"}},"payload":[{{"_placeholder":true,"num":0}},{{"_placeholder":true,"num":1}}]}}"#,
        sender.id
    );
    sender.send_raw(&raw, &[&[1, 2, 3], &[255]]).await;
    let answer = receiver.get().await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
    let text = format!("452-[\"message\",{raw}]");
    let expected = match revision {
        Revision::V3 => format!("{}:{text}6:b4AQID6:b4/w==", text.len()),
        Revision::V4 => format!("{text}\x1ebAQID\x1eb/w=="),
    };
    assert_eq!(answer.text(), expected);
}

async fn characters_survive_in_both_directions(host: Host, revision: Revision) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(revision)).await;
    for text in [
        "é",
        "😀",
        "€😀\u{10ffff}",
        "\u{2028}\u{feff}\u{1e}\u{0}",
        "日本",
    ] {
        for follow in [text, "end"] {
            poller.send(&event("CHAT", ROOM, follow)).await;
            other.send(&event("CHAT", ROOM, follow)).await;
        }
        for follow in [text, "end"] {
            assert_eq!(other.signal().await["payload"], follow);
            assert_eq!(poller.signal().await["payload"], follow);
        }
    }
}

async fn a_broken_body_ends_the_session(host: Host, revision: Revision) {
    let site = host.start().await;
    let mut other = Peer::join(&site, Wire::Json, ROOM).await;
    let good = message(&event("CHAT", ROOM, "last words"));
    let framed: &[&str] = match revision {
        Revision::V3 => &[
            "",
            "abc",
            ":",
            "1",
            "1:",
            "3:40",
            "-1:2",
            "+1:2",
            "99999999999:2",
            "1:2junk",
            "1:😀",
            "18446744073709551617:2",
            "0:",
        ],
        Revision::V4 => &["", "\x1e", "6\x1e", "\x1e6", "1:2"],
    };
    let packets = [
        "abc",
        "7",
        "0",
        "b!",
        "4",
        "47",
        "4x",
        "42",
        "42{}",
        "42[]",
        "42[1]",
        "42null",
        "42[\"message\"",
        "42[\"message\",{},]",
        "451-[\"message\",{}]\x1e6\x1e41",
        "45-[\"x\"]",
        "4511-[\"x\"]",
        "43[]",
        "44\"no\"",
        "bAQID",
        "b4AQID",
    ];
    let mut bodies: Vec<Vec<u8>> = framed.iter().map(|body| (*body).into()).collect();
    bodies.push(vec![0xff]);
    for broken in packets {
        let parts = broken.split('\x1e').map(Packet::from);
        let packets: Vec<_> = [good.as_str().into()].into_iter().chain(parts).collect();
        bodies.push(encode(revision, &packets).into());
    }
    if revision == Revision::V4 {
        bodies.push(encode(revision, &[good.as_str().into(), "2".into()]).into());
        bodies.push(encode(revision, &[good.as_str().into(), "40".into()]).into());
    }
    for body in bodies {
        println!("{}", String::from_utf8_lossy(&body));
        let mut poller = Peer::join(&site, Wire::Polling(revision), ROOM).await;
        assert_eq!(other.signal().await["type"], "CONNECT");
        let lasts = String::from_utf8_lossy(&body).contains("last words");
        poller.polling().post_body(body).await.is_ok();
        poller.polling().get().await.is_unknown_session();
        if lasts {
            assert_eq!(other.signal().await["payload"], "last words");
        }
        other.hears_departure(&poller.id, ROOM).await;
    }
    let mut poller = Peer::join(&site, Wire::Polling(revision), ROOM).await;
    let broken = match revision {
        Revision::V3 => vec![0, 255],
        Revision::V4 => b"6".to_vec(),
    };
    poller.polling().post_octets(broken).await.is_ok();
    poller.polling().get().await.is_unknown_session();
}

async fn revision_3_counts_utf16(host: Host) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(Revision::V3)).await;
    for payload in ["😀", "é"] {
        let raw = format!(
            r#"{{"type":"OFFER","caller":null,"callee":{{"id":"{}"}},"room":{{"id":"r"}},"payload":"{payload}"}}"#,
            poller.id
        );
        other.send_raw(&raw, &[]).await;
    }
    let expect = |payload: &str| {
        format!(
            r#"42["message",{{"type":"OFFER","caller":{{"id":"{}"}},"callee":{{"id":"{}"}},"room":{{"id":"r"}},"payload":"{payload}"}}]"#,
            other.id, poller.id
        )
    };
    let (astral, accent) = (expect("😀"), expect("é"));
    assert_eq!((utf16(&astral), astral.len()), (141, 143));
    site.catch_up().await;
    let answer = poller.polling().get().await;
    assert_eq!(answer.text(), format!("141:{astral}140:{accent}"));
    assert_eq!(answer.header("content-length"), Some("292"));
}

async fn revision_3_speaks_binary_to_those_who_can(host: Host) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(Revision::V3)).await;
    let mut sender = Peer::join(&site, Wire::Socket(Revision::V4), ROOM).await;
    for peer in [&mut poller, &mut other] {
        assert_eq!(peer.signal().await["type"], "CONNECT");
    }
    let raw = format!(
        r#"{{"type":"FILE","caller":{{"id":"{}"}},"room":{{"id":"r"}},"payload":["😀",{{"_placeholder":true,"num":0}}]}}"#,
        sender.id
    );
    sender.send_raw(&raw, &[&[1, 2, 3]]).await;
    assert_eq!(other.hear().await.attachments, [[1, 2, 3]]);
    let answer = poller.polling().get().await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let text = format!("451-[\"message\",{raw}]");
    assert_eq!(
        answer.body,
        encode_binary(&[text.into(), [1, 2, 3][..].into()])
    );
    // And text again, once nothing is binary.
    sender.send(&event("CHAT", ROOM, "text")).await;
    let answer = poller.polling().get().await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; charset=UTF-8")
    );
}

async fn revision_3_takes_binary_payloads(host: Host) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(Revision::V3)).await;
    let text = message(&event("CHAT", ROOM, "é😀"));
    let file = r#"451-["message",{"type":"FILE","room":{"id":"r"},"payload":{"_placeholder":true,"num":0}}]"#;
    let body = encode_binary(&[text.into(), file.into(), [0, 255, 4][..].into(), "6".into()]);
    poller.polling().post_octets(body).await.is_ok();
    assert_eq!(other.signal().await["payload"], "é😀");
    assert_eq!(other.hear().await.attachments, [[0, 255, 4]]);
}

/// The payload within a JSONP answer.
fn unwrap_script(script: &str, index: &str) -> String {
    let literal = script
        .strip_prefix(&format!("___eio[{index}]("))
        .and_then(|rest| rest.strip_suffix(");"));
    let literal = literal.unwrap_or_else(|| panic!("{script}"));
    assert!(
        literal.is_ascii() || !literal.contains(['\u{2028}', '\u{2029}']),
        "{literal}"
    );
    serde_json::from_str(literal).expect("a string")
}

async fn jsonp_wraps_answers(host: Host) {
    let site = host.start().await;
    let open = Request::get("/socket.io/?EIO=3&transport=polling&j=3")
        .send(site.address)
        .await;
    assert_eq!(open.status, 200);
    let payload = unwrap_script(open.text(), "3");
    assert!(payload.starts_with("97:0{\"sid\":"), "{payload}");
    assert!(payload.ends_with("}2:40"), "{payload}");

    let (client, id) = join_with(&site, Revision::V3, "").await;
    let odd = "\"\\\n\u{2028}\u{2029}😀</script>";
    site.tell(&id, "ODD", &json!(odd));
    let target = client.target() + "&j=1%3Cscript%3E2";
    let answer = Request::get(&target).send(site.address).await;
    assert!(!answer.text().contains("</script>"), "{answer:?}");
    let payload = unwrap_script(answer.text(), "12");
    let (length, packet) = payload.split_once(':').expect("a length");
    assert_eq!(length, utf16(packet).to_string());
    let event: Value = serde_json::from_str(&packet[2..]).expect("JSON");
    assert_eq!(event[1]["payload"], odd);
}

async fn jsonp_unwraps_forms(host: Host) {
    let site = host.start().await;
    let (mut poller, mut other) = pair(&site, Wire::Polling(Revision::V3)).await;
    let poller_id = poller.id.clone();
    // A newline as white space, and one within a string, where it is `\` and `n`.
    let raw = format!(
        "{{\"type\":\"CHAT\",\n\"caller\":{{\"id\":\"{poller_id}\"}},\"room\":{{\"id\":\"r\"}},\"payload\":\"a\\nb&=+%é😀\\\\n\"}}"
    );
    let packet = format!("42[\"message\",{raw}]");
    let payload = encode(Revision::V3, &[packet.into(), "6".into()]);
    let saved = payload.replace("\\n", "\\\\n").replace('\n', "\\n");
    let form: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("d", &saved)
        .finish();
    let target = poller.polling().target() + "&j=0";
    let post = |body: &str| {
        Request::post(&target, body).header("Content-Type", "application/x-www-form-urlencoded")
    };
    post(&form).send(site.address).await.is_ok();
    assert_eq!(other.hear().await.raw, raw);
    post("e=1").send(site.address).await.is_ok();
    poller.polling().get().await.is_unknown_session();
    other.hears_departure(&poller_id, ROOM).await;
}
