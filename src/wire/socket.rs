//! Socket.IO packets: what the message of an Engine.IO packet says.
//!
//! A type digit, `<n>-` if binary attachments follow, a namespace up to a comma unless it is `/`,
//! the id of an ack, and data as JSON, which is not looked at here.

use bytes::Bytes;

use super::engine::{Malformed, Revision};
use crate::error::Code;
use crate::signal::quote;

/// The longest namespace, query included, in bytes: as long as a room id may be. It is echoed when
/// it is refused, so it needs a bound.
const MAX_NAMESPACE_BYTES: usize = 256;
/// The longest ack id in digits: that of a 64-bit number. Clients count up from 0.
const MAX_ACK_DIGITS: usize = 19;

/// One packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Connect {
        namespace: Namespace<'a>,
        /// What the application's `auth` says.
        data: Option<&'a str>,
    },
    Disconnect {
        namespace: Namespace<'a>,
    },
    Event {
        namespace: Namespace<'a>,
        /// Digits as sent, if the client wants an answer.
        ack: Option<&'a str>,
        /// How many binary packets follow, if this is a binary event; it may be 0.
        attachments: Option<usize>,
        /// Not empty.
        data: &'a str,
    },
    Ack {
        namespace: Namespace<'a>,
        ack: &'a str,
        attachments: Option<usize>,
        /// Not empty.
        data: &'a str,
    },
    /// Only servers have a use for it.
    Error,
}

/// Where a packet belongs to, as the client wrote it: `/`, `/chat`, `/chat?token=x`.
///
/// It has at most 256 bytes, no comma and no ASCII control characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Namespace<'a>(&'a str);

impl<'a> Namespace<'a> {
    pub(crate) const MAIN: Namespace<'static> = Namespace("/");

    /// A namespace of the server's own; see [`is_namespace`].
    #[cfg(test)]
    pub(crate) fn of(name: &'a str) -> Self {
        Self(name)
    }

    /// Whether this is `/`, with or without a query.
    pub(crate) fn is_main(self) -> bool {
        self.0 == Self::MAIN.0 || self.name() == Self::MAIN.0
    }

    /// The namespace without its query.
    pub(crate) fn name(self) -> &'a str {
        self.0.split_once('?').map_or(self.0, |(name, _)| name)
    }
}

/// Reads one packet. `max_attachments` is the most that an event may announce.
pub(crate) fn decode(text: &str, max_attachments: usize) -> Result<Packet<'_>, Malformed> {
    let mut chars = text.chars();
    let kind = chars.next().ok_or(Malformed)?;
    let (attachments, rest) = match kind {
        '5' | '6' => split_attachments(chars.as_str(), max_attachments)
            .map(|(count, rest)| (Some(count), rest))?,
        _ => (None, chars.as_str()),
    };
    let (namespace, rest) = split_namespace(rest)?;
    match kind {
        '0' => Ok(Packet::Connect {
            namespace,
            data: (!rest.is_empty()).then_some(rest),
        }),
        '1' if rest.is_empty() => Ok(Packet::Disconnect { namespace }),
        '2' | '5' => {
            let (ack, data) = split_ack(rest)?;
            Ok(Packet::Event {
                namespace,
                ack,
                attachments,
                data,
            })
        }
        '3' | '6' => {
            let (ack, data) = split_ack(rest)?;
            let ack = ack.ok_or(Malformed)?;
            Ok(Packet::Ack {
                namespace,
                ack,
                attachments,
                data,
            })
        }
        '4' => Ok(Packet::Error),
        _ => Err(Malformed),
    }
}

/// `<n>-` and the rest.
fn split_attachments(text: &str, max: usize) -> Result<(usize, &str), Malformed> {
    let (digits, rest) = split_digits(text);
    let rest = rest.strip_prefix('-').ok_or(Malformed)?;
    match digits.parse() {
        Ok(count) if count <= max => Ok((count, rest)),
        _ => Err(Malformed),
    }
}

/// `/…,` and the rest. Without it the namespace is `/`; the comma may lack at the end.
fn split_namespace(text: &str) -> Result<(Namespace<'_>, &str), Malformed> {
    if !text.starts_with('/') {
        return Ok((Namespace::MAIN, text));
    }
    let comma = text
        .bytes()
        .take(MAX_NAMESPACE_BYTES + 1)
        .position(|byte| byte == b',');
    let (namespace, rest) = match comma {
        Some(comma) => (text.get(..comma), text.get(comma + 1..)),
        None => (Some(text), Some("")),
    };
    match (namespace, rest) {
        // A control character could be the separator of a payload.
        (Some(namespace), Some(rest))
            if namespace.len() <= MAX_NAMESPACE_BYTES
                && !namespace.bytes().any(|byte| byte.is_ascii_control()) =>
        {
            Ok((Namespace(namespace), rest))
        }
        _ => Err(Malformed),
    }
}

/// The digits of an ack id, if there are any, and the data, which must be there.
fn split_ack(text: &str) -> Result<(Option<&str>, &str), Malformed> {
    let (ack, data) = split_digits(text);
    if ack.len() > MAX_ACK_DIGITS || data.is_empty() {
        return Err(Malformed);
    }
    Ok(((!ack.is_empty()).then_some(ack), data))
}

fn split_digits(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

/// Whether a server may have a namespace of that name beside `/`.
pub(crate) fn is_namespace(name: &str) -> bool {
    name.len() > 1
        && name.len() <= MAX_NAMESPACE_BYTES
        && name.starts_with('/')
        && !name.contains(|c: char| c.is_ascii_control() || matches!(c, ',' | '?'))
}

/// The packet that lets a client into `/`. `id` is its Socket.IO id, which revision 3 does not say:
/// there it is the session id. `pid`: what it shows when it comes back as the same peer, if it may.
pub(crate) fn connected(revision: Revision, id: &str, pid: Option<&str>) -> Bytes {
    match (revision, pid) {
        (Revision::V3, _) => Bytes::from_static(b"40"),
        (Revision::V4, None) => format!(r#"40{{"sid":"{id}"}}"#).into(),
        (Revision::V4, Some(pid)) => format!(r#"40{{"sid":"{id}","pid":"{pid}"}}"#).into(),
    }
}

/// The packet that ends a client's stay in `/`; the transport stays open.
pub(crate) const DISCONNECTED: Bytes = Bytes::from_static(b"41");

/// A packet made for `/`, as it is said in another namespace.
pub(crate) fn in_namespace(packet: &[u8], namespace: &str) -> Bytes {
    // Binary packets announce their attachments first: `451-`.
    let binary = matches!(packet, [_, b'5' | b'6', ..]);
    let head = if binary {
        packet
            .iter()
            .position(|&byte| byte == b'-')
            .map_or(2, |at| at + 1)
    } else {
        2
    };
    let (head, rest) = packet.split_at(head.min(packet.len()));
    let comma: &[u8] = b",";
    [head, namespace.as_bytes(), comma, rest].concat().into()
}

/// The packet that refuses any namespace but `/`.
pub(crate) fn invalid_namespace(revision: Revision, namespace: Namespace<'_>) -> Bytes {
    Bytes::from(match revision {
        Revision::V3 => format!(r#"44{},"Invalid namespace""#, namespace.name()),
        Revision::V4 => format!(r#"44{},{{"message":"Invalid namespace"}}"#, namespace.0),
    })
}

/// The packet that keeps a client out of `/`: in the form that Socket.IO's own middleware gives its
/// errors, where only later revisions have data.
pub(crate) fn refused(revision: Revision, code: Code, message: &str) -> Bytes {
    let message = quote(message);
    Bytes::from(match revision {
        Revision::V3 => format!("44{message}"),
        Revision::V4 => format!(r#"44{{"message":{message},"data":{{"code":"{code}"}}}}"#),
    })
}

/// The answer to an event: `ack` as the client wrote it, `json` one value.
pub(crate) fn ack(ack: &str, json: &str) -> Bytes {
    Bytes::from(format!("43{ack}[{json}]"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIN: Namespace<'static> = Namespace::MAIN;

    fn read(text: &str) -> Result<Packet<'_>, Malformed> {
        decode(text, 10)
    }

    #[test]
    fn connect() {
        assert_eq!(
            read("0"),
            Ok(Packet::Connect {
                namespace: MAIN,
                data: None
            })
        );
        assert_eq!(
            read(r#"0{"token":"x"}"#),
            Ok(Packet::Connect {
                namespace: MAIN,
                data: Some(r#"{"token":"x"}"#)
            })
        );
        for text in ["0/nope", "0/nope,"] {
            let namespace = Namespace("/nope");
            assert_eq!(
                read(text),
                Ok(Packet::Connect {
                    namespace,
                    data: None
                })
            );
            assert!(!namespace.is_main());
        }
        assert_eq!(
            read("0/nope,{}"),
            Ok(Packet::Connect {
                namespace: Namespace("/nope"),
                data: Some("{}")
            })
        );
    }

    #[test]
    fn a_query_does_not_change_the_namespace() {
        for text in ["0/?token=x", "0/?token=x,", "0/", "0/,", "0/?/nope"] {
            match read(text) {
                Ok(Packet::Connect {
                    namespace,
                    data: None,
                }) => assert!(namespace.is_main()),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn disconnect() {
        assert_eq!(read("1"), Ok(Packet::Disconnect { namespace: MAIN }));
        assert_eq!(
            read("1/nope,"),
            Ok(Packet::Disconnect {
                namespace: Namespace("/nope")
            })
        );
        assert_eq!(read("1[]"), Err(Malformed));
    }

    #[test]
    fn events() {
        let event = |ack, attachments, data| {
            Ok(Packet::Event {
                namespace: MAIN,
                ack,
                attachments,
                data,
            })
        };
        let data = r#"["message",{}]"#;
        assert_eq!(read(r#"2["message",{}]"#), event(None, None, data));
        assert_eq!(read(r#"212["message",{}]"#), event(Some("12"), None, data));
        assert_eq!(read(r#"51-["message",{}]"#), event(None, Some(1), data));
        assert_eq!(
            read(r#"510-7["message",{}]"#),
            event(Some("7"), Some(10), data)
        );
        assert_eq!(read("50-[]"), event(None, Some(0), "[]"));
        assert_eq!(read("2007[]"), event(Some("007"), None, "[]"));
        assert_eq!(read("2{}"), event(None, None, "{}"));
        assert_eq!(read("2-1[]"), event(None, None, "-1[]"));
        assert_eq!(
            read("52-/chat,9[1,2]"),
            Ok(Packet::Event {
                namespace: Namespace("/chat"),
                ack: Some("9"),
                attachments: Some(2),
                data: "[1,2]",
            })
        );
    }

    #[test]
    fn acks() {
        let ack = |attachments| {
            Ok(Packet::Ack {
                namespace: MAIN,
                ack: "12",
                attachments,
                data: "[]",
            })
        };
        assert_eq!(read("312[]"), ack(None));
        assert_eq!(read("61-12[]"), ack(Some(1)));
        assert_eq!(read("3[]"), Err(Malformed));
        assert_eq!(read("61-[]"), Err(Malformed));
    }

    #[test]
    fn errors_from_clients_are_legal() {
        assert_eq!(read(r#"4"x""#), Ok(Packet::Error));
    }

    #[test]
    fn malformed() {
        for text in [
            "",
            "7",
            "9[]",
            "x",
            "é",
            "-",
            "2",
            "212",
            "2/chat",
            "2/chat,",
            "2/chat,1",
            "3",
            "312",
            "5",
            "5-[]",
            "51[]",
            "51",
            "51-",
            "5-1-[]",
            "5+1-[]",
            "5 1-[]",
            "51.0-[]",
            "511-[]",
            "51000000000-[]",
            "599999999999999999999999-[]",
            "6x-1[]",
            "0/\x1e4",
            "0/\n,",
            "5٣-[]",
        ] {
            assert_eq!(read(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn attachments_have_the_given_maximum() {
        assert!(decode("52-[]", 2).is_ok());
        assert_eq!(decode("53-[]", 2), Err(Malformed));
        assert_eq!(decode("51-[]", 0), Err(Malformed));
    }

    #[test]
    fn ack_ids_are_bounded() {
        assert!(read(&format!("2{}[]", "9".repeat(19))).is_ok());
        assert_eq!(read(&format!("2{}[]", "9".repeat(20))), Err(Malformed));
        assert_eq!(read(&"2".repeat(1_000_000)), Err(Malformed));
        assert_eq!(read(&"5".repeat(1_000_000)), Err(Malformed));
    }

    #[test]
    fn namespaces_are_bounded() {
        let longest = format!("/{}", "n".repeat(255));
        for tail in ["", ",", ",{}"] {
            assert!(read(&format!("0{longest}{tail}")).is_ok());
            assert_eq!(read(&format!("0{longest}n{tail}")), Err(Malformed));
        }
        assert_eq!(read(&format!("0{}", "/".repeat(1_000_000))), Err(Malformed));
        // The bound may fall within a character.
        assert_eq!(read(&format!("0/{}", "é".repeat(200))), Err(Malformed));
    }

    #[test]
    fn what_the_server_says() {
        let id = "v9uLaHT8O3Ftv6nyAAAK";
        assert_eq!(connected(Revision::V3, id, None), "40");
        assert_eq!(
            connected(Revision::V4, id, None),
            r#"40{"sid":"v9uLaHT8O3Ftv6nyAAAK"}"#
        );
        assert_eq!(DISCONNECTED, "41");
        assert_eq!(ack("12", r#"{"ok":true}"#), r#"4312[{"ok":true}]"#);
    }

    #[test]
    fn other_namespaces_do_not_exist() {
        let plain = Namespace("/nope");
        let query = Namespace("/nope?x=1");
        assert_eq!(
            invalid_namespace(Revision::V3, plain),
            r#"44/nope,"Invalid namespace""#
        );
        assert_eq!(
            invalid_namespace(Revision::V3, query),
            r#"44/nope,"Invalid namespace""#
        );
        assert_eq!(
            invalid_namespace(Revision::V4, plain),
            r#"44/nope,{"message":"Invalid namespace"}"#
        );
        assert_eq!(
            invalid_namespace(Revision::V4, query),
            r#"44/nope?x=1,{"message":"Invalid namespace"}"#
        );
    }

    #[test]
    fn a_refusal_is_what_middleware_would_say() {
        let say = |revision| refused(revision, Code::Unauthorized, "no \"token\"");
        assert_eq!(say(Revision::V3), r#"44"no \"token\"""#);
        assert_eq!(
            in_namespace(&say(Revision::V4), "/x"),
            r#"44/x,{"message":"no \"token\"","data":{"code":"unauthorized"}}"#
        );
    }

    proptest! {
        #[test]
        fn events_are_taken_apart_as_they_were_put_together(
            namespace in prop::option::of("/[^,[:cntrl:]]{0,60}"),
            ack in prop::option::of("[0-9]{1,19}"),
            attachments in prop::option::of(0_usize..=10),
            data in "[\\[{\"].{0,20}",
        ) {
            let mut text = attachments.map_or("2".to_owned(), |count| format!("5{count}-"));
            if let Some(namespace) = &namespace {
                text.extend([namespace, ","]);
            }
            text.extend([ack.as_deref().unwrap_or_default(), &data]);
            let namespace = namespace.as_deref().map_or(MAIN, Namespace);
            let expected = Packet::Event { namespace, ack: ack.as_deref(), attachments, data: &data };
            prop_assert_eq!(read(&text), Ok(expected));
        }

        #[test]
        fn no_text_is_too_strange(text in "[0-9/,?\\-\\[é😀]{0,40}") {
            if let Ok(Packet::Event { data, .. } | Packet::Ack { data, .. }) = read(&text) {
                prop_assert!(!data.is_empty() && text.ends_with(data));
            }
        }
    }
}
