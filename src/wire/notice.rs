//! What the server says on its own behalf.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use crate::error::Code;
use crate::id::{PeerId, RoomId};
use crate::signal::{Signal, quote};

/// The first text on the plain JSON wire: who the client is; what it shows when it comes back as the
/// same peer, if it may, and whether it just has; and which STUN and TURN servers there are, as a
/// JSON array.
pub(crate) fn ready(id: &PeerId, pid: Option<&str>, resumed: bool, ice: Option<&str>) -> Bytes {
    let resume = match pid {
        Some(pid) => format!(r#","resume":"{pid}","resumed":{resumed}"#),
        None => String::new(),
    };
    let ice = IceMember(ice);
    format!(
        r#"{{"type":"READY","caller":null,"callee":null,"room":null,"payload":{{"id":"{id}"{resume}{ice}}}}}"#
    )
    .into()
}

/// The type of events that ask for STUN and TURN servers, and of what tells of them.
pub(crate) const ICE_SERVERS: &str = "ICE_SERVERS";

/// Which STUN and TURN servers there are, as a JSON array. For a room if a client of it has asked.
pub(crate) fn ice_servers(ice: &str, room: Option<&str>) -> Signal {
    let payload = format!(r#"{{"iceServers":{ice}}}"#);
    Signal::compose(ICE_SERVERS, None, room, &payload)
}

/// One more member of an object, if there is something to say.
struct IceMember<'a>(Option<&'a str>);

impl fmt::Display for IceMember<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(ice) => write!(f, r#","iceServers":{ice}"#),
            None => Ok(()),
        }
    }
}

/// A peer was put into a room, and says nothing of itself.
pub(crate) fn arrival(peer: &PeerId, room: &RoomId) -> Signal {
    Signal::compose("CONNECT", Some(peer), Some(room.as_str()), "null")
}

/// A peer is gone from a room. The room is never null: JavaScript clients read its id unasked.
pub(crate) fn departure(peer: &PeerId, room: &RoomId) -> Signal {
    Signal::compose("DISCONNECT", Some(peer), Some(room.as_str()), "null")
}

/// An event was refused.
pub(crate) fn error(code: Code, message: &str, room: Option<&str>) -> Signal {
    let payload = format!(r#"{{"code":"{code}","message":{}}}"#, quote(message));
    Signal::compose("ERROR", None, room, &payload)
}

/// The ack of an event that went out to `delivered` peers; for CONNECT, `peers` were there before;
/// `ice` as in [`ready`].
pub(crate) fn ack_ok(
    own: &PeerId,
    delivered: usize,
    peers: Option<impl Iterator<Item = PeerId>>,
    ice: Option<&str>,
) -> String {
    let mut ack = format!(r#"{{"ok":true,"id":"{own}","delivered":{delivered}"#);
    if let Some(peers) = peers {
        ack.push_str(r#","peers":["#);
        for (at, peer) in peers.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a string cannot fail.
            let _ = write!(ack, r#"{comma}"{peer}""#);
        }
        ack.push(']');
    }
    let _ = write!(ack, "{}", IceMember(ice));
    ack.push('}');
    ack
}

/// The ack of an event that was refused.
pub(crate) fn ack_error(code: Code, message: &str) -> String {
    format!(
        r#"{{"ok":false,"code":"{code}","message":{}}}"#,
        quote(message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PeerId {
        "zVM8wOtnweVu5FYeAAAA".parse().unwrap()
    }

    #[test]
    fn a_departure_is_what_javascript_clients_expect() {
        let room = RoomId::new("a \"quoted\" room").unwrap();
        let signal = departure(&id(), &room);
        assert_eq!(
            signal.packet(),
            r#"42["message",{"type":"DISCONNECT","caller":{"id":"zVM8wOtnweVu5FYeAAAA"},"callee":null,"room":{"id":"a \"quoted\" room"},"payload":null}]"#
        );
    }

    #[test]
    fn an_arrival_is_a_connect_without_payload() {
        let signal = arrival(&id(), &RoomId::new("r").unwrap());
        assert_eq!(
            signal.json(),
            r#"{"type":"CONNECT","caller":{"id":"zVM8wOtnweVu5FYeAAAA"},"callee":null,"room":{"id":"r"},"payload":null}"#
        );
    }

    #[test]
    fn an_error_names_the_room_if_there_is_one() {
        let signal = error(Code::NotInRoom, "not in that room", None);
        assert_eq!(
            signal.json(),
            r#"{"type":"ERROR","caller":null,"callee":null,"room":null,"payload":{"code":"not_in_room","message":"not in that room"}}"#
        );
    }

    #[test]
    fn acks_are_one_object() {
        let nobody = None::<std::iter::Empty<PeerId>>;
        assert_eq!(
            ack_ok(&id(), 2, nobody, None),
            r#"{"ok":true,"id":"zVM8wOtnweVu5FYeAAAA","delivered":2}"#
        );
        assert_eq!(
            ack_ok(&id(), 2, Some([id(), id()].into_iter()), Some("[]")),
            r#"{"ok":true,"id":"zVM8wOtnweVu5FYeAAAA","delivered":2,"peers":["zVM8wOtnweVu5FYeAAAA","zVM8wOtnweVu5FYeAAAA"],"iceServers":[]}"#
        );
        assert_eq!(
            ack_error(Code::Malformed, "no"),
            r#"{"ok":false,"code":"malformed","message":"no"}"#
        );
    }
}
