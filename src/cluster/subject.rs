//! What targets are called on the bus.

use std::fmt::Write as _;

use super::Target;
use crate::error::Error;
use crate::id::{NodeId, RoomId};

/// The longest prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// The subjects, or channels, of one application on a bus.
///
/// `<prefix>.all`, `<prefix>.n.<node>`, and `<prefix>.r.<room>`, where a room is the first 128 bits
/// of the SHA-256 of its id, in hexadecimal: whatever the id is, it has no wildcard, no separator
/// and no length of its own there. Parcels name their room in full, so two rooms with one subject
/// would only cost traffic.
///
/// ```
/// use peer_data_server::{RoomId, Subjects, Target};
///
/// let subjects = Subjects::new("shop")?;
/// assert_eq!(subjects.of(Target::All), "shop.all");
/// let everything = RoomId::new(">")?;
/// assert_eq!(
///     subjects.of(Target::Room(&everything)),
///     "shop.r.62b67e1f685b7fef51102005dddd2777"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// The subjects below a prefix, which applications on one bus must not share.
    ///
    /// # Errors
    ///
    /// When it is not 1 to 64 bytes of `A-Z a-z 0-9 _ -`, with single dots between them.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        let is_token = |token: &str| {
            let mut bytes = token.bytes();
            !token.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if prefix.len() > MAX_PREFIX || !prefix.split('.').all(is_token) {
            // Not repeated: of a URL with a `#` in its password it is the rest of that.
            let problem =
                format!("it is not 1 to {MAX_PREFIX} of A-Z a-z 0-9 _ - with single dots between");
            return Err(Error::new("prefix", problem));
        }
        Ok(Self {
            prefix: prefix.to_owned(),
        })
    }

    /// The subject of a target.
    #[must_use]
    pub fn of(&self, target: Target<'_>) -> String {
        match target {
            Target::All => self.all(),
            Target::Node(node) => self.node(node),
            Target::Room(room) => self.room(room),
        }
    }

    /// The subject of all nodes.
    #[must_use]
    pub fn all(&self) -> String {
        format!("{}.all", self.prefix)
    }

    /// The subject of one node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> String {
        format!("{}.n.{node}", self.prefix)
    }

    /// The subject of a room.
    #[must_use]
    pub fn room(&self, room: &RoomId) -> String {
        let mut subject = format!("{}.r.", self.prefix);
        for byte in digest(room) {
            // Writing to a string cannot fail.
            let _ = write!(subject, "{byte:02x}");
        }
        subject
    }
}

impl Default for Subjects {
    /// Below `peer-data`.
    fn default() -> Self {
        Self {
            prefix: "peer-data".to_owned(),
        }
    }
}

fn digest(room: &RoomId) -> [u8; 16] {
    use sha2::Digest as _;
    let whole: [u8; 32] = sha2::Sha256::digest(room.as_str().as_bytes()).into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_room_is_called_its_subject_is_one_token() {
        let subjects = Subjects::default();
        let long = " ".repeat(256);
        let mut seen = std::collections::HashSet::new();
        for name in [">", "*", ".", "a.b", "a b", "\r\n", "é", "{x}", &long] {
            let subject = subjects.room(&RoomId::new(name).unwrap());
            let token = subject.strip_prefix("peer-data.r.").unwrap();
            assert_eq!(token.len(), 32);
            assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
            assert!(seen.insert(subject), "{name}");
        }
    }

    #[test]
    fn a_prefix_cannot_break_out() {
        for prefix in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*",
            ">",
            "a b",
            "é",
            &"x".repeat(65),
        ] {
            assert_eq!(Subjects::new(prefix).unwrap_err().subject(), "prefix");
        }
        assert!(Subjects::new("my-app.blue_2").is_ok());
    }
}
