//! The names of things: nodes, peers, sessions, rooms.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Serialize, Serializer};

/// The longest room id, in bytes.
///
/// Long enough for any name people choose or a URL they paste, short enough that a table of rooms
/// stays small.
pub(crate) const MAX_ROOM_ID_BYTES: usize = 256;

/// The characters of an id.
pub(crate) const ID_CHARS: usize = 20;

/// Random bytes behind an id: 120 bits, which base64 turns into exactly 20 characters.
const RANDOM_BYTES: usize = 15;

/// The characters of an id that name its node, where there are many: 24 bits.
pub(crate) const NODE_CHARS: usize = 4;

/// Why a text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidId {
    /// It has no characters.
    Empty,
    /// A room id of more than 256 bytes.
    TooLong,
    /// A peer or session id that is not 20 characters of `A-Z a-z 0-9 _ -`, or the id of a node
    /// that is not 4 of them.
    Format,
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an id must not be empty",
            Self::TooLong => "a room id must not exceed 256 bytes",
            Self::Format => "an id must be 20 characters of A-Z a-z 0-9 _ -, that of a node 4",
        })
    }
}

impl std::error::Error for InvalidId {}

/// A peer's public name: 20 characters of `A-Z a-z 0-9 _ -`, 120 random bits.
///
/// It is what other peers see as `caller.id` and what they put into `callee.id`. It is not a
/// credential: knowing it lets nobody speak for the peer.
///
/// ```
/// use peer_data_server::PeerId;
///
/// let id: PeerId = "zVM8wOtnweVu5FYeAAAA".parse()?;
/// assert_eq!(id.as_str(), "zVM8wOtnweVu5FYeAAAA");
/// assert!("too short".parse::<PeerId>().is_err());
/// # Ok::<(), peer_data_server::InvalidId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId([u8; ID_CHARS]);

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

/// One run of a server among others on the same bus: 4 characters of `A-Z a-z 0-9 _ -`.
///
/// It is drawn at random when the server starts, and the ids of its peers and sessions begin with
/// it. A server that is started anew is another node.
///
/// ```
/// use peer_data_server::NodeId;
///
/// let node: NodeId = "zVM8".parse()?;
/// assert_eq!(node.as_str(), "zVM8");
/// # Ok::<(), peer_data_server::InvalidId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId([u8; NODE_CHARS]);

/// The credential of one Engine.IO session: whoever has it can use that session.
///
/// It never leaves the server but to its own client, and its `Debug` form does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId([u8; ID_CHARS]);

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash(&self.0, state);
    }
}

impl NodeId {
    /// A new random id.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        random().map(|id| Self(first_chars(&id)))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; NODE_CHARS] {
        &self.0
    }
}

impl PeerId {
    /// A new random id.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }

    /// A new id of a peer at that node: 96 bits are left to chance.
    pub(crate) fn random_at(node: Option<NodeId>) -> Result<Self, getrandom::Error> {
        random_at(node).map(Self)
    }

    /// The node that the peer is at, if it is one of a cluster.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(first_chars(&self.0))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; ID_CHARS] {
        &self.0
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

impl SessionId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        random().map(Self)
    }

    /// A new id of a session at that node: 96 bits are left to chance.
    pub(crate) fn random_at(node: Option<NodeId>) -> Result<Self, getrandom::Error> {
        random_at(node).map(Self)
    }

    /// The node that the session is at, if it is one of a cluster.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(first_chars(&self.0))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, InvalidId> {
        parse(text).map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    /// The same characters as a public name, for revision-3 clients whose ids are exposed on demand.
    pub(crate) fn exposed(self) -> PeerId {
        PeerId(self.0)
    }
}

fn random() -> Result<[u8; ID_CHARS], getrandom::Error> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    let mut id = [b'A'; ID_CHARS];
    // Fifteen bytes are exactly twenty characters, so the slice is never too small.
    let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut id);
    Ok(id)
}

fn random_at(node: Option<NodeId>) -> Result<[u8; ID_CHARS], getrandom::Error> {
    let mut id = random()?;
    if let Some(NodeId(node)) = node {
        id[..NODE_CHARS].copy_from_slice(&node);
    }
    Ok(id)
}

/// Two numbers instead of a text of any length: ids are looked up more than once for each message.
/// What names the node is the same for most, and left out.
fn hash<H: Hasher>(id: &[u8; ID_CHARS], state: &mut H) {
    let (halves, _) = id[NODE_CHARS..].as_chunks::<8>();
    for half in halves {
        state.write_u64(u64::from_ne_bytes(*half));
    }
}

fn first_chars(id: &[u8; ID_CHARS]) -> [u8; NODE_CHARS] {
    let [a, b, c, d, ..] = *id;
    [a, b, c, d]
}

/// Any number from 0 up to 1; always the same where the operating system has no randomness to give.
pub(crate) fn chance() -> f64 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

/// Any number; always the same where the operating system has no randomness to give.
pub(crate) fn number() -> u64 {
    let mut bytes = [0; 8];
    let _ = getrandom::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn parse<const CHARS: usize>(text: &str) -> Result<[u8; CHARS], InvalidId> {
    let id: [u8; CHARS] = text.as_bytes().try_into().map_err(|_| {
        if text.is_empty() {
            InvalidId::Empty
        } else {
            InvalidId::Format
        }
    })?;
    let valid = |all: bool, char: &u8| all & ID_ALPHABET[usize::from(*char)];
    if id.iter().fold(true, valid) {
        Ok(id)
    } else {
        Err(InvalidId::Format)
    }
}

/// The characters that an id may have: base64 for URLs.
const ID_ALPHABET: [bool; 256] = {
    let mut table = [false; 256];
    let mut char = 0_u8;
    while char.is_ascii() {
        table[char as usize] = char.is_ascii_alphanumeric() || matches!(char, b'_' | b'-');
        char += 1;
    }
    table
};

fn ascii(id: &[u8]) -> &str {
    // Both constructors admit ASCII only.
    std::str::from_utf8(id).unwrap_or_default()
}

impl std::str::FromStr for NodeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text).map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", self.as_str())
    }
}

impl std::str::FromStr for PeerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse(text).map(Self)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.as_str())
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

/// The name of a room: any text of 1 to 256 bytes, compared byte for byte. Cloning is cheap.
///
/// ```
/// use peer_data_server::RoomId;
///
/// let room = RoomId::new("kitchen")?;
/// assert_eq!(room.as_str(), "kitchen");
/// assert!(RoomId::new("").is_err());
/// assert!(RoomId::new(&"x".repeat(257)).is_err());
/// # Ok::<(), peer_data_server::InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(Arc<str>);

impl RoomId {
    /// The room of that name.
    ///
    /// # Errors
    ///
    /// [`InvalidId::Empty`] and [`InvalidId::TooLong`].
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        match text.len() {
            0 => Err(InvalidId::Empty),
            1..=MAX_ROOM_ID_BYTES => Ok(Self(text.into())),
            _ => Err(InvalidId::TooLong),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for RoomId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::new(text)
    }
}

impl Borrow<str> for RoomId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RoomId({:?})", &self.0)
    }
}

impl Serialize for RoomId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_differ_and_parse_back() {
        let (a, b) = (PeerId::random().unwrap(), PeerId::random().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<PeerId>(), Ok(a));
        let sid = SessionId::random().unwrap();
        assert_eq!(SessionId::parse(sid.as_str()), Ok(sid));
    }

    #[test]
    fn ids_name_their_node() {
        let node = NodeId::random().unwrap();
        assert_eq!(node.as_str().parse::<NodeId>(), Ok(node));
        let (a, b) = (PeerId::random_at(Some(node)), PeerId::random_at(Some(node)));
        assert_ne!(a, b);
        assert_eq!([a.unwrap().node(), b.unwrap().node()], [node; 2]);
        let sid = SessionId::random_at(Some(node)).unwrap();
        assert_eq!((sid.node(), sid.exposed().node()), (node, node));
        assert_ne!(NodeId::random(), NodeId::random(), "once in 16 million");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert_eq!("".parse::<PeerId>(), Err(InvalidId::Empty));
        for text in [
            "__proto__",
            "zVM8wOtnweVu5FYeAAA",
            "zVM8wOtnweVu5FYeAAA\u{e9}",
        ] {
            assert_eq!(text.parse::<PeerId>(), Err(InvalidId::Format), "{text}");
        }
        assert!(RoomId::new(&"x".repeat(256)).is_ok());
        assert!(RoomId::new("__proto__").is_ok());
    }

    #[test]
    fn a_session_id_is_not_shown() {
        let sid = SessionId::random().unwrap();
        assert!(!format!("{sid:?}").contains(sid.as_str()));
    }
}
