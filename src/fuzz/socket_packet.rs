//! Socket.IO packets: what is read stands in the packet, and within the bounds.

use crate::wire::socket::{self, Namespace, Packet};

/// Attachments that an event may announce.
const MAX: usize = 10;

/// Text, as far as it is some.
pub fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(packet) = socket::decode(text, MAX) else {
        return;
    };
    match packet {
        Packet::Connect { namespace, data } => {
            check(text, namespace);
            assert!(data.is_none_or(|data| text.ends_with(data)));
        }
        Packet::Disconnect { namespace } => check(text, namespace),
        Packet::Event {
            namespace,
            ack,
            attachments,
            data,
        } => {
            assert_eq!(text.starts_with('5'), attachments.is_some());
            check(text, namespace);
            check_event(text, ack, attachments, data);
        }
        Packet::Ack {
            namespace,
            ack,
            attachments,
            data,
        } => {
            assert_eq!(text.starts_with('6'), attachments.is_some());
            check(text, namespace);
            check_event(text, Some(ack), attachments, data);
        }
        Packet::Error => assert!(text.starts_with('4')),
    }
}

fn check(text: &str, namespace: Namespace<'_>) {
    let name = namespace.name();
    assert!(name.starts_with('/') && name.len() <= 256);
    assert!(
        !name.contains([',', '?']) && !name.contains(|c: char| c.is_ascii_control()) || name == "/"
    );
    assert!(name == "/" || text.contains(name));
}

fn check_event(text: &str, ack: Option<&str>, attachments: Option<usize>, data: &str) {
    assert!(!data.is_empty() && text.ends_with(data));
    assert!(!data.starts_with(|first: char| first.is_ascii_digit()));
    assert!(attachments.is_none_or(|count| count <= MAX));
    let is_number = |ack: &str| ack.bytes().all(|digit| digit.is_ascii_digit());
    assert!(ack.is_none_or(|ack| !ack.is_empty() && ack.len() <= 19 && is_number(ack)));
}
